"""What the authors of a model do with an input that its files do not say.

EmbeddingGemma 2 (https://huggingface.co/google/embeddinggemma-2, October 2026): its folder has the
prompts of queries and documents, and a chat template that writes the parts of an input one after
another. That the text comes before the images, that an image alone has no prompt, and how a task is
worded is what its authors submitted to mteb (`EmbeddingGemma2Wrapper`, the recipe of MIEB for
XM3600, WIT and NIGHTS). Its model card advises against float16, which gives NaN.

WeMM-Embedding (https://huggingface.co/tencent/WeMM-Embedding-2B): images before the text, and
"Represent this image." behind an image alone, as in the examples of its model card; a task is put
before the text of the same turn, as in mteb. It has no prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedder.errors import EmbedderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """How inputs of a model with a chat template are put together.

    Attributes:
        text_first: The text is before the images; otherwise behind them.
        prompts_images: Images without a text have the prompt of their role, too.
        query_template: The prompt of a query with an instruction, which replaces {}; "" for a
            system turn that is the instruction as a sentence.
        image_text: The text behind images that have none of their own.
        instruction_in_text: An instruction is put before the text of an input.
        max_tokens: The most tokens of an input; longer texts are cut.
        unused_parts: Parts of the configuration for what is never embedded here; without them
            their weights are not loaded.
        has_float16: It can be computed in float16.
    """

    text_first: bool = False
    prompts_images: bool = True
    query_template: str = ""
    image_text: str = ""
    instruction_in_text: bool = False
    max_tokens: int = 8192  # Qwen3-VL-Embedding's MAX_LENGTH, and EmbeddingGemma 2's
    unused_parts: tuple[str, ...] = ()
    has_float16: bool = True

    @property
    def config_overrides(self) -> dict[str, Any]:
        """What to set in the configuration before the weights are loaded."""
        return dict.fromkeys(self.unused_parts)

    def check_dtype(self, name: str, dtype: object) -> None:
        """Raise `EmbedderError` for a dtype that the model called `name` cannot be computed in."""
        if not self.has_float16 and str(dtype).endswith("float16") and "bfloat" not in str(dtype):
            raise EmbedderError(
                f"{name} gives no numbers in float16; use --dtype bfloat16 or float32"
            )


_DEFAULT = Conventions()
_BY_MODEL_TYPE = {
    "embedding_gemma2": Conventions(
        text_first=True,
        prompts_images=False,
        query_template="task: {} | query: ",
        unused_parts=("audio_config",),
        has_float16=False,
    ),
}


_WEMM = Conventions(image_text="Represent this image.", instruction_in_text=True, max_tokens=32_768)


def find_conventions(config: Mapping[str, Any]) -> Conventions:
    """Return the conventions of the model with this configuration."""
    if is_wemm(config):
        return _WEMM
    return _BY_MODEL_TYPE.get(str(config.get("model_type")), _DEFAULT)


def is_wemm(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration names Tencent's class for WeMM-Embedding."""
    auto_map = config.get("auto_map") or {}
    return str(auto_map.get("AutoModel", "")).endswith(".WeMMEmbedding")
