"""Queries for images with captions, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetune.data.pairs import Side
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks.files import BenchmarkFiles
from finetune.evaluation.metrics import HIT_METRICS, RANK_METRICS, RECALL_METRICS

IMAGE_TO_TEXT_INSTRUCTION = "Find an image caption describing the given everyday image."
"""MMEB's instruction for captions (https://arxiv.org/abs/2410.05160). For images, the default
instructions of the families are MMEB's."""


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image and its captions in one language."""

    image: str
    captions: Sequence[str]
    language: str | None = None


def caption_benchmark(
    name: str, files: BenchmarkFiles, groups: Sequence[Sequence[CaptionedImage]]
) -> Benchmark:
    """Both directions for each group of images, which are ranked among themselves; hit@1."""
    documents, queries = DocumentSet(), list[BenchmarkQuery]()
    instruction = files.instruction_for(IMAGE_TO_TEXT_INSTRUCTION)
    for images in groups:
        queries += text_to_image_queries(images, documents)
        queries += image_to_text_queries(images, documents, instruction)
    metrics = (*HIT_METRICS, *RECALL_METRICS, *RANK_METRICS)
    return files.build(name, "hit@1", metrics, queries, documents)


def text_to_image_queries(
    images: Sequence[CaptionedImage], documents: DocumentSet
) -> list[BenchmarkQuery]:
    """One query for each caption. As published, one image is relevant, also where another one has
    the same caption."""
    captions = [
        (caption, one.language, documents.add(Side(image=one.image)))
        for one in images
        for caption in one.captions
    ]
    pool = tuple(dict.fromkeys(index for _, _, index in captions))
    return [
        BenchmarkQuery(
            id=_query_id("t2i", language, number),
            sides=(Side(text=caption),),
            relevant={index: 1},
            direction="t2i",
            language=language,
            cluster=str(index),
            candidates=pool,
        )
        for number, (caption, language, index) in enumerate(captions, 1)
    ]


def image_to_text_queries(
    images: Sequence[CaptionedImage], documents: DocumentSet, instruction: str | None
) -> list[BenchmarkQuery]:
    """One query for each image and language; all its captions are relevant."""
    relevant: dict[tuple[str, str | None], dict[int, int]] = {}
    pools: dict[str | None, dict[int, None]] = {}  # ordered sets
    for one in images:
        grades = relevant.setdefault((one.image, one.language), {})
        for caption in one.captions:
            index = documents.add(Side(text=caption))
            grades[index] = 1
            pools.setdefault(one.language, {})[index] = None
    candidates = {language: tuple(pool) for language, pool in pools.items()}
    clusters = {image: documents.add(Side(image=image)) for image, _ in relevant}
    return [
        BenchmarkQuery(
            id=_query_id("i2t", language, number),
            sides=(Side(image=image, instruction=instruction),),
            relevant=grades,
            direction="i2t",
            language=language,
            cluster=str(clusters[image]),
            candidates=candidates[language],
        )
        for number, ((image, language), grades) in enumerate(relevant.items(), 1)
    ]


def _query_id(direction: str, language: str | None, number: int) -> str:
    return " ".join(part for part in (direction, language, str(number)) if part)
