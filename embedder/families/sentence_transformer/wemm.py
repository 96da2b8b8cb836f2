"""WeMM-Embedding without the Python code that comes with it.

Tencent's models are Qwen3.5 with a token `<embedding>` behind the user's turn, whose state is the
vector. Their folder names classes of its own in `config.json` and `modules.json`; what these do is
done here with transformers' Qwen3.5 and the modules of sentence-transformers, so nothing foreign
runs. https://github.com/Tencent/WeMM-Embedding, https://arxiv.org/abs/2608.24053.

The tokenizer has a rule that drops a line break before a special token, such as that of
`<|im_start|>user` before an image. transformers 5.18 and later build the tokenizer anew, without
it; it is taken from `tokenizer.json` again (as mteb does).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import read_optional_config
from embedder.errors import EmbedderError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LAST_TOKEN = "<embedding>"
TEMPLATE_FILE = "embedding_chat_template.jinja"  # the processor's own may be that for chats


def load_wemm(folder: Path, model_kwargs: dict[str, Any]) -> SentenceTransformer:
    """Load the model in `folder`; raise `EmbedderError` if its prompt does not end as expected."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    state = {"method": "forward", "method_output_name": "last_hidden_state"}
    saved = read_optional_config(folder, "sentence_bert_config.json").get("processing_kwargs") or {}
    transformer = Transformer(
        str(folder),
        model_kwargs=model_kwargs,
        modality_config={
            **dict.fromkeys(("text", "image"), state),
            "message": {**state, "format": "structured"},
        },
        module_output_name="token_embeddings",
        processing_kwargs={
            "chat_template": {**saved.get("chat_template", {}), "add_generation_prompt": False}
        },
    )
    processor: Any = transformer.processor
    if (folder / TEMPLATE_FILE).exists():
        processor.chat_template = (folder / TEMPLATE_FILE).read_text("utf-8")
    restore_normalizer(processor.tokenizer, folder)
    processor.tokenizer.padding_side = "right"
    ids = transformer.preprocess([{"text": "a"}])["input_ids"][0]
    if int(ids[-1]) != processor.tokenizer.convert_tokens_to_ids(LAST_TOKEN):
        raise EmbedderError(
            f"{folder} is not understood: its chat template does not end with {LAST_TOKEN}"
        )
    dim = transformer.get_embedding_dimension()
    pooling = Pooling(dim, pooling_mode="lasttoken")
    return SentenceTransformer(modules=[transformer, pooling, Normalize()])


def restore_normalizer(tokenizer: Any, folder: Path) -> None:
    """Give `tokenizer` the rules for its text that `tokenizer.json` has."""
    from tokenizers import Tokenizer

    saved = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.backend_tokenizer.normalizer = saved.normalizer
