"""Workarounds for processors: video parts, threads, and options that calls override.

Checked against sentence-transformers 6.2's `Transformer` and transformers 5.23's processors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import read_config, read_optional_config
from embedder.errors import EmbedderError

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer

VIDEO_PROCESSOR = "video_processor"
SOFT_TOKENS = (70, 140, 280, 560, 1120)  # of an image, as transformers' Gemma 4 processor allows
SIGLIP_TYPES = ("siglip", "siglip2")
_SWAP_LOCK = threading.Lock()


@contextmanager
def without_video_processor() -> Iterator[None]:
    """Make sentence-transformers load processors without their video part, which needs torchvision:
    AutoProcessor would fail for every Qwen-VL."""
    from sentence_transformers.base.modules import transformer

    transformer_module: Any = transformer
    with _SWAP_LOCK:
        original = transformer_module.AutoProcessor
        transformer_module.AutoProcessor = ImageOnlyAutoProcessor
        try:
            yield
        finally:
            transformer_module.AutoProcessor = original


class ImageOnlyAutoProcessor:
    """Replaces AutoProcessor: loads the same processor without its video part."""

    @staticmethod
    def from_pretrained(folder: str, **options: Any) -> Any:
        import transformers

        auto: Any = transformers.AutoProcessor
        plain = _processor_class(Path(folder))
        if plain is None or VIDEO_PROCESSOR not in plain.get_attributes():
            return auto.from_pretrained(folder, **options)
        return _drop_video_part(plain).from_pretrained(folder, **options)


def _drop_video_part(plain: Any) -> Any:
    """Derive a class that neither loads nor keeps a video part from a processor's class, whose own
    `__init__` may require one (EmbeddingGemma 2)."""
    from transformers.processing_utils import ProcessorMixin

    mixin: Any = ProcessorMixin
    parts = [part for part in plain.get_attributes() if part != VIDEO_PROCESSOR]

    def from_args_and_dict(cls: Any, args: Any, saved: Any, /, **options: Any) -> Any:
        without = {**saved, VIDEO_PROCESSOR: None}
        return mixin.from_args_and_dict.__func__(cls, args, without, **options)

    def keep_parts(self: Any, *args: Any, **options: Any) -> None:
        options.pop(VIDEO_PROCESSOR, None)
        mixin.__init__(self, *args, **options)

    # `plain.__init__` passes what it was given on to the next class, which is this one
    last = type("WithoutVideo", (mixin,), {"__init__": keep_parts})
    body = {
        "get_attributes": classmethod(lambda _: list(parts)),
        "from_args_and_dict": classmethod(from_args_and_dict),
        "__module__": plain.__module__,
    }
    return type(plain.__name__, (plain, last), body)


def _processor_class(folder: Path) -> Any:
    """Return the class that a checkpoint names, or the one for its model type."""
    import transformers
    from transformers.models.auto import processing_auto

    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        class_name = read_optional_config(folder, file).get("processor_class")
        if class_name:
            return getattr(transformers, class_name, None)
    if not (folder / "preprocessor_config.json").exists():
        return None
    names: Any = processing_auto
    model_type = read_config(folder).get("model_type")
    return getattr(transformers, str(names.PROCESSOR_MAPPING_NAMES.get(model_type)), None)


def serialize_tokenizer_calls(tokenizer: Any) -> None:
    """Let only one thread at a time call `tokenizer`, which stores padding and truncation; images
    are still prepared in parallel."""
    lock, tokenizer_class = threading.Lock(), type(tokenizer)

    def call(self: Any, *args: Any, **options: Any) -> Any:
        with lock:
            return tokenizer_class.__call__(self, *args, **options)

    tokenizer.__class__ = type(tokenizer_class.__name__, (tokenizer_class,), {"__call__": call})


def apply_training_options(transformer: Transformer) -> None:
    """Process SigLIP's texts as in training: with an end token, padded on the right to the full
    length, attending to the padding (the last position is the embedding). By default a call pads to
    the longest text.

    https://github.com/google-research/big_vision: texts of 64 tokens, the last one the end token.
    """
    if transformer.config.model_type not in SIGLIP_TYPES:
        return
    tokenizer = transformer.processor.tokenizer
    if uses_gemma_tokenizer(transformer):
        tokenizer.add_bos_token, tokenizer.add_eos_token = False, True
    length = transformer.config.text_config.max_position_embeddings
    padding = {"padding": "max_length", "max_length": length, "padding_side": "right"}
    options = {**padding, "truncation": True, "return_attention_mask": False}
    _set_call_options(transformer, "text", options)
    images = transformer.processor.image_processor
    if hasattr(images, "max_num_patches"):  # Siglip2Processor's call resets it to 256
        saved = {"max_num_patches": images.max_num_patches, "patch_size": images.patch_size}
        _set_call_options(transformer, "image", saved)


def uses_gemma_tokenizer(transformer: Transformer) -> bool:
    """Return whether texts are lowercase with Gemma's vocabulary, as in SigLIP 2."""
    if transformer.config.model_type not in SIGLIP_TYPES:
        return False
    return not type(transformer.processor.tokenizer).__name__.startswith("SiglipTokenizer")


def set_pixel_budget(transformer: Transformer, max_pixels: int) -> None:
    """Limit the pixels per image of a processor without a fixed resolution."""
    images: Any = transformer.processor.image_processor
    if hasattr(images, "max_soft_tokens"):
        tokens = choose_soft_tokens(max_pixels, images.patch_size * images.pooling_kernel_size)
        images.max_soft_tokens = images.image_seq_length = tokens
    elif hasattr(images, "max_num_patches"):
        images.max_num_patches = max(1, max_pixels // images.patch_size**2)
        _set_call_options(transformer, "image", {"max_num_patches": images.max_num_patches})
    else:
        images.size = make_pixel_limits(min(images.size["shortest_edge"], max_pixels), max_pixels)


def make_pixel_limits(min_pixels: int, max_pixels: int) -> dict[str, int]:
    """Return the pixels of an image as Qwen's processors have them, whose names say sides."""
    return {"shortest_edge": min_pixels, "longest_edge": max_pixels}


def choose_soft_tokens(max_pixels: int, side: int) -> int:
    """Return how many tokens, each of `side` x `side` pixels, an image of `max_pixels` has.

    Gemma 4's vision tower was trained for certain numbers of tokens only; raises `EmbedderError`.
    """
    fitting = [count for count in SOFT_TOKENS if count * side**2 <= max_pixels]
    if not fitting:
        raise EmbedderError(
            f"this model needs a pixel budget of at least {SOFT_TOKENS[0] * side**2:,} pixels"
        )
    return fitting[-1]


def read_image_config(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of its image processor, of which there are two layouts: within
    `processor_config.json`, or in a file of its own; empty if it has none."""
    nested = read_optional_config(folder, "processor_config.json").get("image_processor")
    return nested or read_optional_config(folder, "preprocessor_config.json")


def read_max_pixels(saved: dict[str, Any]) -> int:
    """Return the maximum of pixels from a preprocessor file; 0 for a fixed resolution."""
    if "max_soft_tokens" in saved:
        return int(saved["max_soft_tokens"]) * read_token_side(saved) ** 2
    if "max_num_patches" in saved:
        return int(saved["max_num_patches"]) * int(saved.get("patch_size", 16)) ** 2
    if "merge_size" not in saved:
        return 0
    return int(saved.get("size", {}).get("longest_edge") or saved.get("max_pixels") or 0)


def read_token_side(saved: dict[str, Any]) -> int:
    """Return the side in pixels of what a token of Gemma 4's vision tower shows."""
    return int(saved.get("patch_size", 16)) * int(saved.get("pooling_kernel_size", 3))


def read_image_side(saved: dict[str, Any]) -> int:
    """Return the shorter side in pixels beyond which the model does not use an image."""
    size = saved.get("size", {})
    known = size if isinstance(size, int) else size.get("shortest_edge") or size.get("height")
    return isqrt(read_max_pixels(saved)) or int(known or 512)


def _set_call_options(transformer: Transformer, modality: str, options: dict[str, Any]) -> None:
    call_options: Any = transformer.processing_kwargs
    call_options[modality] = {**call_options.get(modality, {}), **options}
