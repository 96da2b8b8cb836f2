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
from finetune.evaluation.benchmarks.files import E5V, BenchmarkFiles
from finetune.evaluation.text_rendering import find_font, render_texts

INSTRUCTION = "Represent the given image."  # MMEB's for a picture that is looked for


def flickr30k(files: BenchmarkFiles) -> Benchmark:
    """Raises `FinetuneError`, `DataError`."""
    return _draw_captions(karpathy.flickr30k(files), files)


def coco(files: BenchmarkFiles) -> Benchmark:
    """Raises `FinetuneError`, `DataError`."""
    return _draw_captions(karpathy.coco(files), files)


def _draw_captions(benchmark: Benchmark, files: BenchmarkFiles) -> Benchmark:
    """The same questions, with a picture of the words in place of the words."""
    if files.drawings_dir is None:
        raise FinetuneError("drawn captions need a folder for the drawings")
    font = find_font(files.font)
    texts = [s.text for q in benchmark.queries for s in q.sides] + [
        side.text for side in benchmark.documents
    ]
    known = sorted({text for text in texts if text})
    paths = dict(zip(known, render_texts(known, font, files.drawings_dir), strict=True))
    instruction = None if files.family == E5V else INSTRUCTION
    questions = tuple(
        replace(
            question,
            sides=_replace_texts(question.sides, paths, instruction),
            direction="i2i",
            dataset="captions ask" if question.direction == "t2i" else "pictures ask",
        )
        for question in benchmark.queries
    )
    return replace(
        benchmark,
        name=f"{benchmark.name} drawn",
        queries=questions,
        documents=_replace_texts(benchmark.documents, paths, None),
    )


def _replace_texts(
    sides: Sequence[Side], paths: dict[str, Path], instruction: str | None
) -> tuple[Side, ...]:
    return tuple(
        Side(image=str(paths[side.text]) if side.text else side.image, instruction=instruction)
        for side in sides
    )
