"""Pictures with captions -> questions both ways, which several benchmarks are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetune.data.pairs import Side
from finetune.evaluation.benchmark import BenchmarkQuery, DocumentSet

IMAGE_TO_TEXT_INSTRUCTION = "Find an image caption describing the given everyday image."
"""MMEB's instruction for captions (https://arxiv.org/abs/2410.05160); for pictures, a family's own
default is MMEB's."""


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """A picture and its captions in one language."""

    image: str
    captions: Sequence[str]
    language: str | None = None


def text_to_image_queries(
    images: Iterable[CaptionedImage], documents: DocumentSet
) -> list[BenchmarkQuery]:
    """A question for each caption: which picture? As published, one picture is right, also where
    another has the same caption."""
    asked = [
        (caption, one.language, documents.add(Side(image=one.image)))
        for one in images
        for caption in one.captions
    ]
    pool = tuple(dict.fromkeys(place for _, _, place in asked))
    return [
        BenchmarkQuery(
            _query_id("t2i", language, number),
            (Side(text=caption),),
            {place: 1},
            "t2i",
            language,
            cluster=str(place),
            candidates=pool,
        )
        for number, (caption, language, place) in enumerate(asked, 1)
    ]


def image_to_text_queries(
    images: Iterable[CaptionedImage], documents: DocumentSet, instruction: str | None
) -> list[BenchmarkQuery]:
    """A question for each picture and language: which captions? `told` instructs the model."""
    asked: dict[tuple[str, str | None], dict[int, int]] = {}
    pools: dict[str | None, dict[int, None]] = {}
    for one in images:
        right = asked.setdefault((one.image, one.language), {})
        for caption in one.captions:
            place = documents.add(Side(text=caption))
            right[place] = 1
            pools.setdefault(one.language, {})[place] = None
    shared = {language: tuple(places) for language, places in pools.items()}
    clusters = {image: documents.add(Side(image=image)) for image, _ in asked}
    return [
        BenchmarkQuery(
            _query_id("i2t", language, number),
            (Side(image=image, instruction=instruction),),
            right,
            "i2t",
            language,
            cluster=str(clusters[image]),
            candidates=shared[language],
        )
        for number, ((image, language), right) in enumerate(asked.items(), 1)
    ]


def _query_id(direction: str, language: str | None, number: int) -> str:
    return " ".join(part for part in (direction, language, str(number)) if part)
