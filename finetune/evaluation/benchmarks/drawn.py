"""I2I of the E5-V paper (https://arxiv.org/abs/2407.12580): Flickr30K and COCO with the captions
drawn as pictures. A model that reads finds what is written; both sides are pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.data.pairs import Side
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.benchmarks import karpathy
from finetune.evaluation.benchmarks.place import E5V, Place
from finetune.evaluation.drawing import draw, font_file

TOLD = "Represent the given image."  # MMEB's for a picture that is looked for


def flickr30k(place: Place) -> Benchmark:
    """Raises `FinetuneError`, `DataError`."""
    return _drawn(karpathy.flickr30k(place), place)


def coco(place: Place) -> Benchmark:
    """Raises `FinetuneError`, `DataError`."""
    return _drawn(karpathy.coco(place), place)


def _drawn(benchmark: Benchmark, place: Place) -> Benchmark:
    """The same questions, with a picture of the words in place of the words."""
    if place.drawn is None:
        raise FinetuneError("drawn captions need a folder for the drawings")
    font = font_file(place.font)
    texts = [s.text for q in benchmark.questions for s in q.sides] + [
        side.text for side in benchmark.documents
    ]
    known = sorted({text for text in texts if text})
    paths = dict(zip(known, draw(known, font, place.drawn), strict=True))
    told = None if place.family == E5V else TOLD
    questions = tuple(
        replace(
            question,
            sides=_pictured(question.sides, paths, told),
            direction="i2i",
            dataset="captions ask" if question.direction == "t2i" else "pictures ask",
        )
        for question in benchmark.questions
    )
    return replace(
        benchmark,
        name=f"{benchmark.name} drawn",
        questions=questions,
        documents=_pictured(benchmark.documents, paths, None),
    )


def _pictured(sides: Sequence[Side], paths: dict[str, Path], told: str | None) -> tuple[Side, ...]:
    return tuple(
        Side(image=str(paths[side.text]) if side.text else side.image, instruction=told)
        for side in sides
    )
