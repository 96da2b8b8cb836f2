"""What stands in the way of a processor here: video, threads, and what a call quietly overrides.

Read in sentence-transformers 6.2's `Transformer` and transformers 5.23's processors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedder.checkpoint import read_config
from embedder.errors import EmbedderError

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer

VIDEO_PROCESSOR = "video_processor"
SIGLIP_TYPES = ("siglip", "siglip2")
_SWAP_LOCK = threading.Lock()


@contextmanager
def without_video_processor() -> Iterator[None]:
    """While this holds, sentence-transformers loads processors without their part for video, which
    needs torchvision: AutoProcessor would fail for every Qwen-VL."""
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
    """In AutoProcessor's place: the processor that it would give, less its part for video."""

    @staticmethod
    def from_pretrained(folder: str, **options: Any) -> Any:
        import transformers

        auto: Any = transformers.AutoProcessor
        plain = _processor_class(Path(folder))
        if plain is None or VIDEO_PROCESSOR not in plain.get_attributes():
            return auto.from_pretrained(folder, **options)
        parts = [part for part in plain.get_attributes() if part != VIDEO_PROCESSOR]
        body = {
            "get_attributes": classmethod(lambda _: list(parts)),
            "__module__": plain.__module__,
        }
        still: Any = type(plain.__name__, (plain,), body)
        return still.from_pretrained(folder, **options)


def _processor_class(folder: Path) -> Any:
    """The class that a checkpoint names, or the one of its model's type."""
    import transformers
    from transformers.models.auto import processing_auto

    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        class_name = (
            read_config(folder, file).get("processor_class") if (folder / file).exists() else None
        )
        if class_name:
            return getattr(transformers, class_name, None)
    if not (folder / "preprocessor_config.json").exists():
        return None
    names: Any = processing_auto
    model_type = read_config(folder).get("model_type")
    return getattr(transformers, str(names.PROCESSOR_MAPPING_NAMES.get(model_type)), None)


def check_image_processor(transformer: Transformer, folder: Path) -> None:
    """AutoProcessor gives a bare tokenizer, in silence, where it does not know the processor."""
    if not hasattr(transformer.processor, "image_processor"):
        raise EmbedderError(
            f"{folder.name} is said to see pictures, but its processor is unknown here; its "
            "processor_config.json may be missing, or it needs --trust-remote-code"
        )


def serialize_tokenizer_calls(tokenizer: Any) -> None:
    """Let one thread at a time into `tokenizer`, which keeps padding and truncation in itself;
    pictures are still prepared side by side."""
    lock, tokenizer_class = threading.Lock(), type(tokenizer)

    def call(self: Any, *args: Any, **options: Any) -> Any:
        with lock:
            return tokenizer_class.__call__(self, *args, **options)

    tokenizer.__class__ = type(tokenizer_class.__name__, (tokenizer_class,), {"__call__": call})


def apply_training_options(transformer: Transformer) -> None:
    """SigLIP's texts as in training: closed by an end, padded on the right to the whole length, the
    padding attended to (the last place is the embedding). A plain call pads to the longest.

    https://github.com/google-research/big_vision: texts of 64 tokens, the last of them the end.
    """
    if transformer.config.model_type not in SIGLIP_TYPES:
        return
    tokenizer = transformer.processor.tokenizer
    if uses_gemma_tokenizer(transformer):
        tokenizer.add_bos_token, tokenizer.add_eos_token = False, True
    length = transformer.config.text_config.max_position_embeddings
    text = {"padding": "max_length", "max_length": length, "padding_side": "right"}
    _set_call_options(
        transformer, "text", {**text, "truncation": True, "return_attention_mask": False}
    )
    images = transformer.processor.image_processor
    if hasattr(images, "max_num_patches"):  # Siglip2Processor's call goes back to 256
        saved = {"max_num_patches": images.max_num_patches, "patch_size": images.patch_size}
        _set_call_options(transformer, "image", saved)


def uses_gemma_tokenizer(transformer: Transformer) -> bool:
    """Whether the texts are SigLIP 2's, in small letters, with Gemma's vocabulary."""
    if transformer.config.model_type not in SIGLIP_TYPES:
        return False
    return not type(transformer.processor.tokenizer).__name__.startswith("SiglipTokenizer")


def set_pixel_budget(transformer: Transformer, max_pixels: int, name: str) -> None:
    """Let a picture cost at most `pixels`; raises `EmbedderError` for a fixed resolution."""
    images: Any = getattr(transformer.processor, "image_processor", None)
    if hasattr(images, "max_num_patches"):
        images.max_num_patches = max(1, max_pixels // images.patch_size**2)
        _set_call_options(transformer, "image", {"max_num_patches": images.max_num_patches})
    elif hasattr(images, "merge_size"):
        min_pixels = min(images.size["shortest_edge"], max_pixels)
        images.size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    else:
        raise EmbedderError(fixed_resolution_message(name))


def fixed_resolution_message(name: str) -> str:
    return f"{name} sees every picture at one size, so it has no pixel budget; leave it out"


def read_max_pixels(saved: dict[str, Any]) -> int:
    """The most pixels a picture costs, from a preprocessor's file; 0 for a fixed resolution."""
    if "max_num_patches" in saved:
        return int(saved["max_num_patches"]) * int(saved.get("patch_size", 16)) ** 2
    if "merge_size" not in saved:
        return 0
    return int(saved.get("size", {}).get("longest_edge") or saved.get("max_pixels") or 0)


def read_image_side(saved: dict[str, Any]) -> int:
    """The shorter side in pixels above which a picture holds nothing for the model."""
    size = saved.get("size", {})
    known = size if isinstance(size, int) else size.get("shortest_edge") or size.get("height")
    return isqrt(read_max_pixels(saved)) or int(known or 512)


def _set_call_options(transformer: Transformer, modality: str, options: dict[str, Any]) -> None:
    """Options that every call of the processor gets."""
    call_options: Any = transformer.processing_kwargs
    call_options[modality] = {**call_options.get(modality, {}), **options}
