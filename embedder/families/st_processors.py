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

VIDEO = "video_processor"
SIGLIP = ("siglip", "siglip2")
_SWAPPING = threading.Lock()


@contextmanager
def still_pictures() -> Iterator[None]:
    """While this holds, sentence-transformers loads processors without their part for video, which
    needs torchvision: AutoProcessor would fail for every Qwen-VL."""
    from sentence_transformers.base.modules import transformer

    theirs: Any = transformer
    with _SWAPPING:
        before = theirs.AutoProcessor
        theirs.AutoProcessor = Stills
        try:
            yield
        finally:
            theirs.AutoProcessor = before


class Stills:
    """In AutoProcessor's place: the processor that it would give, less its part for video."""

    @staticmethod
    def from_pretrained(folder: str, **options: Any) -> Any:
        import transformers

        auto: Any = transformers.AutoProcessor
        plain = _processor_class(Path(folder))
        if plain is None or VIDEO not in plain.get_attributes():
            return auto.from_pretrained(folder, **options)
        parts = [part for part in plain.get_attributes() if part != VIDEO]
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
        named = (
            read_config(folder, file).get("processor_class") if (folder / file).exists() else None
        )
        if named:
            return getattr(transformers, named, None)
    if not (folder / "preprocessor_config.json").exists():
        return None
    names: Any = processing_auto
    kind = read_config(folder).get("model_type")
    return getattr(transformers, str(names.PROCESSOR_MAPPING_NAMES.get(kind)), None)


def check_sees(transformer: Transformer, folder: Path) -> None:
    """AutoProcessor gives a bare tokenizer, in silence, where it does not know the processor."""
    if not hasattr(transformer.processor, "image_processor"):
        raise EmbedderError(
            f"{folder.name} is said to see pictures, but its processor is unknown here; its "
            "processor_config.json may be missing, or it needs --trust-remote-code"
        )


def one_at_a_time(tokenizer: Any) -> None:
    """Let one thread at a time into `tokenizer`, which keeps padding and truncation in itself;
    pictures are still prepared side by side."""
    lock, plain = threading.Lock(), type(tokenizer)

    def call(self: Any, *args: Any, **options: Any) -> Any:
        with lock:
            return plain.__call__(self, *args, **options)

    tokenizer.__class__ = type(plain.__name__, (plain,), {"__call__": call})


def as_trained(transformer: Transformer) -> None:
    """SigLIP's texts as in training: closed by an end, padded on the right to the whole length, the
    padding attended to (the last place is the embedding). A plain call pads to the longest.

    https://github.com/google-research/big_vision: texts of 64 tokens, the last of them the end.
    """
    if transformer.config.model_type not in SIGLIP:
        return
    tokenizer = transformer.processor.tokenizer
    if gemma(transformer):
        tokenizer.add_bos_token, tokenizer.add_eos_token = False, True
    length = transformer.config.text_config.max_position_embeddings
    text = {"padding": "max_length", "max_length": length, "padding_side": "right"}
    _always(transformer, "text", {**text, "truncation": True, "return_attention_mask": False})
    images = transformer.processor.image_processor
    if hasattr(images, "max_num_patches"):  # Siglip2Processor's call goes back to 256
        saved = {"max_num_patches": images.max_num_patches, "patch_size": images.patch_size}
        _always(transformer, "image", saved)


def gemma(transformer: Transformer) -> bool:
    """Whether the texts are SigLIP 2's, in small letters, with Gemma's vocabulary."""
    if transformer.config.model_type not in SIGLIP:
        return False
    return not type(transformer.processor.tokenizer).__name__.startswith("SiglipTokenizer")


def spend(transformer: Transformer, pixels: int, name: str) -> None:
    """Let a picture cost at most `pixels`; raises `EmbedderError` for a fixed resolution."""
    images: Any = getattr(transformer.processor, "image_processor", None)
    if hasattr(images, "max_num_patches"):
        images.max_num_patches = max(1, pixels // images.patch_size**2)
        _always(transformer, "image", {"max_num_patches": images.max_num_patches})
    elif hasattr(images, "merge_size"):
        least = min(images.size["shortest_edge"], pixels)
        images.size = {"shortest_edge": least, "longest_edge": pixels}
    else:
        raise EmbedderError(fixed(name))


def fixed(name: str) -> str:
    return f"{name} sees every picture at one size, so it has no pixel budget; leave it out"


def pixels_of(saved: dict[str, Any]) -> int:
    """The most pixels a picture costs, from a preprocessor's file; 0 for a fixed resolution."""
    if "max_num_patches" in saved:
        return int(saved["max_num_patches"]) * int(saved.get("patch_size", 16)) ** 2
    if "merge_size" not in saved:
        return 0
    return int(saved.get("size", {}).get("longest_edge") or saved.get("max_pixels") or 0)


def side_of(saved: dict[str, Any]) -> int:
    """The shorter side in pixels above which a picture holds nothing for the model."""
    size = saved.get("size", {})
    known = size if isinstance(size, int) else size.get("shortest_edge") or size.get("height")
    return isqrt(pixels_of(saved)) or int(known or 512)


def _always(transformer: Transformer, kind: str, options: dict[str, Any]) -> None:
    """Options that every call of the processor gets."""
    given: Any = transformer.processing_kwargs
    given[kind] = {**given.get(kind, {}), **options}
