"""Crossmodal-3600 (https://arxiv.org/abs/2205.12522): captions in 36 languages.

captions.jsonl, one line for each image: {"image/key", "image/locale", "en": {"caption": [..], ...},
"de": ..}; the images are images/KEY.jpg. Both directions in each language; the captions of a
language are ranked among themselves.
"""

from __future__ import annotations

from finetune.data.files import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.benchmarks.captions import CaptionedImage, caption_benchmark
from finetune.evaluation.benchmarks.files import BenchmarkFiles, require_field

URL = "https://google.github.io/crossmodal-3600"


def load(files: BenchmarkFiles) -> Benchmark:
    """Raises `DataError`."""
    path = files.find_file("captions.jsonl", "one line for each image", URL)
    by_language: dict[str, list[CaptionedImage]] = {}
    for _, row in read_rows(path):
        image = files.image_path(f"{require_field(row, 'image/key', path)}.jpg", "images")
        for language, value in row.items():
            if isinstance(value, dict) and "caption" in value:
                captions = [str(text).strip() for text in value["caption"]]
                one = CaptionedImage(image, captions, language)
                by_language.setdefault(language, []).append(one)
    if not by_language:
        raise DataError(f"{path} has no line with captions, such as {{'en': {{'caption': [..]}}}}")
    groups = [images for _, images in sorted(by_language.items())]
    return caption_benchmark("Crossmodal-3600", files, groups)
