"""Flickr30K and COCO in Karpathy's splits (https://cs.stanford.edu/people/karpathy/deepimagesent).

dataset_flickr30k.json and dataset_coco.json: {"images": [{"split", "filename", "filepath" (COCO),
"sentences": [{"raw"}]}]}. A hit is at least one of a picture's captions; COCO has a few pictures
with more than five, of which the first five count.
"""

from __future__ import annotations

from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, DocumentSet
from finetune.evaluation.benchmarks.captions import (
    IMAGE_TO_TEXT_INSTRUCTION,
    CaptionedImage,
    image_to_text_queries,
    text_to_image_queries,
)
from finetune.evaluation.benchmarks.files import BenchmarkFiles, read_json, require_field
from finetune.evaluation.metrics import HIT_METRICS, RANK_METRICS, RECALL_METRICS

URL = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
MAX_CAPTIONS = 5
FOLDERS = ("flickr30k-images", "flickr30k_images", "images", "Images")
SPLIT = "test"


def flickr30k(files: BenchmarkFiles) -> Benchmark:
    """1,000 pictures and 5,000 captions, both ways; raises `DataError`."""
    return build_benchmark("Flickr30K", files, read_test_images(files, "dataset_flickr30k.json"))


def coco(files: BenchmarkFiles) -> Benchmark:
    """5,000 pictures and 25,000 captions, both ways; raises `DataError`."""
    return build_benchmark("COCO", files, read_test_images(files, "dataset_coco.json"))


def read_test_images(files: BenchmarkFiles, name: str) -> list[CaptionedImage]:
    """The test pictures with their first five captions; raises `DataError`."""
    path = files.find_file(name, "Karpathy's split", URL)
    found = []
    for entry in require_field(read_json(path), "images", path):
        if require_field(entry, "split", path) != SPLIT:
            continue
        sentences = require_field(entry, "sentences", path)[:MAX_CAPTIONS]
        captions = [str(require_field(sentence, "raw", path)).strip() for sentence in sentences]
        folder = str(entry.get("filepath") or "")
        image = files.image_path(
            str(require_field(entry, "filename", path)),
            *([folder] if folder else []),
            *FOLDERS,
            f"images/{folder}",
        )
        found.append(CaptionedImage(image, captions, "en"))
    if not found:
        raise DataError(f"{path} has no picture whose split is {SPLIT!r}")
    return found


def build_benchmark(name: str, files: BenchmarkFiles, images: list[CaptionedImage]) -> Benchmark:
    documents = DocumentSet()
    questions = [
        *text_to_image_queries(images, documents),
        *image_to_text_queries(images, documents, files.instruction_for(IMAGE_TO_TEXT_INSTRUCTION)),
    ]
    return Benchmark(
        name,
        str(files.path),
        "hit@1",
        (*HIT_METRICS, *RECALL_METRICS, *RANK_METRICS),
        tuple(questions),
        tuple(documents.sides),
    )
