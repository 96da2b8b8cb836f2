"""Tiny random rerankers of real architectures, in folders laid out as the real ones."""

from __future__ import annotations

from pathlib import Path

from tests.tiny_folders import make_qwen3_vl_config, randomize, write

WORDS = [
    "a red square on a blue beach at sunset, with two dogs, fruit and a yellow banana",
    'judge whether the document meets the requirements. "yes" or "no". query instruct',
    "the quiet lagoon; a zeppelin over the harbour; a tiger in the snow",
]
QWEN_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
TEMPLATE = (  # of a language model that reads a pair of texts, as Qwen3-Reranker's does
    "<|im_start|>user\n<Query>: {{ messages | selectattr('role', 'eq', 'query') | "
    "map(attribute='content') | first }}\n<Document>: {{ messages | "
    "selectattr('role', 'eq', 'document') | map(attribute='content') | first }}<|im_end|>"
)
STRUCTURED_TEMPLATE = (  # the same prompt, of contents that are lists
    "<|im_start|>user\n<Query>: {{ (messages | selectattr('role', 'eq', 'query') | "
    "first).content[0].text }}\n<Document>: {{ (messages | "
    "selectattr('role', 'eq', 'document') | first).content[0].text }}<|im_end|>"
)


def make_text_reranker(folder: Path, num_labels: int = 1) -> Path:
    """A BERT that classifies pairs of texts, as cross-encoder/ms-marco-MiniLM-L6-v2."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word.strip('.,;"') for text in WORDS for word in text.split()})
    letters = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz:/." for mark in ("", "##")]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*special, *words, *letters]))}
    BertTokenizer(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_labels=num_labels,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    randomize(BertForSequenceClassification(config), std=0.3).save_pretrained(folder)
    return folder


def make_qwen_tokenizer(folder: Path, **more: object) -> dict[str, int]:
    """A byte-level one with Qwen's special tokens; their ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=QWEN_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*WORDS, *(["yes no", "assistant"] * 20)], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>",
            "eos_token": "<|im_end|>", "additional_special_tokens": QWEN_TOKENS,
            "model_max_length": 262144, **more,
        },
    )  # fmt: skip
    return {token: tokenizer.token_to_id(token) for token in QWEN_TOKENS}


def make_language_reranker(folder: Path, template: str = TEMPLATE) -> Path:
    """A Qwen3 that answers yes or no, as Qwen3-Reranker with sentence-transformers' template."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    make_qwen_tokenizer(folder, chat_template=template)
    config = Qwen3Config(
        vocab_size=512, hidden_size=32, intermediate_size=64, head_dim=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    randomize(Qwen3ForCausalLM(config)).save_pretrained(folder)
    return folder


def make_qwen3_vl_reranker(folder: Path) -> Path:
    """A folder laid out as Qwen/Qwen3-VL-Reranker-8B: Qwen3-VL with a head of its own."""
    from transformers import Qwen3VLForConditionalGeneration

    ids = make_qwen_tokenizer(folder)
    config = make_qwen3_vl_config(ids, tied=False)
    randomize(Qwen3VLForConditionalGeneration(config)).save_pretrained(folder)
    write(
        folder / "preprocessor_config.json",
        {
            "size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16,
            "temporal_patch_size": 2, "merge_size": 2, "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3, "processor_class": "Qwen3VLProcessor",
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
    )  # fmt: skip
    return folder
