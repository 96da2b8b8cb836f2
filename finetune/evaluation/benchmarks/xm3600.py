"""Crossmodal-3600 (https://arxiv.org/abs/2205.12522): captions in 36 languages.

captions.jsonl, a line a picture: {"image/key", "image/locale", "en": {"caption": [..], ...}, "de":
..}; the pictures are images/KEY.jpg. Both ways in each language; the captions of a language are
ranked among themselves.
"""

from __future__ import annotations

from finetune.data.formats.tables import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, DocumentSet
from finetune.evaluation.benchmarks.captions import (
    IMAGE_TO_TEXT_INSTRUCTION,
    CaptionedImage,
    image_to_text_queries,
    text_to_image_queries,
)
from finetune.evaluation.benchmarks.files import BenchmarkFiles, require_field
from finetune.evaluation.metrics import HIT_METRICS, RANK_METRICS, RECALL_METRICS

URL = "https://google.github.io/crossmodal-3600"


def load(files: BenchmarkFiles) -> Benchmark:
    """Raises `DataError`."""
    path = files.find_file("captions.jsonl", "a line a picture", URL)
    captioned: dict[str, list[CaptionedImage]] = {}
    for _, row in read_rows(path):
        image = files.image_path(f"{require_field(row, 'image/key', path)}.jpg", "images")
        for language, told in row.items():
            if isinstance(told, dict) and "caption" in told:
                one = CaptionedImage(
                    image, [str(text).strip() for text in told["caption"]], language
                )
                captioned.setdefault(language, []).append(one)
    if not captioned:
        raise DataError(f"{path} has no line with captions, such as {{'en': {{'caption': [..]}}}}")
    documents, told = DocumentSet(), files.instruction_for(IMAGE_TO_TEXT_INSTRUCTION)
    questions = [
        question
        for _, pictures in sorted(captioned.items())
        for question in (
            *text_to_image_queries(pictures, documents),
            *image_to_text_queries(pictures, documents, told),
        )
    ]
    metrics = (*HIT_METRICS, *RECALL_METRICS, *RANK_METRICS)
    return Benchmark(
        "Crossmodal-3600",
        str(files.path),
        "hit@1",
        metrics,
        tuple(questions),
        tuple(documents.sides),
    )
