"""Crossmodal-3600 (https://arxiv.org/abs/2205.12522): captions in 36 languages.

captions.jsonl, a line a picture: {"image/key", "image/locale", "en": {"caption": [..], ...}, "de":
..}; the pictures are images/KEY.jpg. Both ways in each language; the captions of a language are
ranked among themselves.
"""

from __future__ import annotations

from finetune.data.tables import rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, Documents
from finetune.evaluation.benchmarks.captions import (
    IMAGE_TO_TEXT,
    Captioned,
    image_to_text,
    text_to_image,
)
from finetune.evaluation.benchmarks.place import Place, field
from finetune.evaluation.metrics import HIT, RECALL, REST

HOME = "https://google.github.io/crossmodal-3600"


def load(place: Place) -> Benchmark:
    """Raises `DataError`."""
    path = place.find("captions.jsonl", "a line a picture", HOME)
    captioned: dict[str, list[Captioned]] = {}
    for _, row in rows(path):
        image = place.picture(f"{field(row, 'image/key', path)}.jpg", "images")
        for language, told in row.items():
            if isinstance(told, dict) and "caption" in told:
                one = Captioned(image, [str(text).strip() for text in told["caption"]], language)
                captioned.setdefault(language, []).append(one)
    if not captioned:
        raise DataError(f"{path} has no line with captions, such as {{'en': {{'caption': [..]}}}}")
    documents, told = Documents(), place.told(IMAGE_TO_TEXT)
    questions = [
        question
        for _, pictures in sorted(captioned.items())
        for question in (
            *text_to_image(pictures, documents),
            *image_to_text(pictures, documents, told),
        )
    ]
    metrics = (*HIT, *RECALL, *REST)
    return Benchmark(
        "Crossmodal-3600",
        str(place.path),
        "hit@1",
        metrics,
        tuple(questions),
        tuple(documents.sides),
    )
