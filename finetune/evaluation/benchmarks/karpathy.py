"""Flickr30K and COCO in Karpathy's splits (https://cs.stanford.edu/people/karpathy/deepimagesent).

dataset_flickr30k.json and dataset_coco.json: {"images": [{"split", "filename", "filepath" (COCO),
"sentences": [{"raw"}]}]}. A hit is at least one of an image's captions. A few COCO images have more
than five captions, of which the first five count.
"""

from __future__ import annotations

from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.benchmarks.captions import CaptionedImage, caption_benchmark
from finetune.evaluation.benchmarks.files import BenchmarkFiles, read_json, require_field

URL = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
MAX_CAPTIONS = 5
FOLDERS = ("flickr30k-images", "flickr30k_images", "images", "Images")
SPLIT = "test"


def flickr30k(files: BenchmarkFiles) -> Benchmark:
    """1,000 images and 5,000 captions, in both directions; raises `DataError`."""
    return caption_benchmark("Flickr30K", files, [_read_images(files, "dataset_flickr30k.json")])


def coco(files: BenchmarkFiles) -> Benchmark:
    """5,000 images and 25,000 captions, in both directions; raises `DataError`."""
    return caption_benchmark("COCO", files, [_read_images(files, "dataset_coco.json")])


def _read_images(files: BenchmarkFiles, name: str) -> list[CaptionedImage]:
    """The test images with their first five captions."""
    path = files.find_file(name, "Karpathy's split", URL)
    images = []
    for entry in require_field(read_json(path), "images", path):
        if require_field(entry, "split", path) != SPLIT:
            continue
        sentences = require_field(entry, "sentences", path)[:MAX_CAPTIONS]
        captions = [str(require_field(sentence, "raw", path)).strip() for sentence in sentences]
        folder = str(entry.get("filepath") or "")
        folders = (*([folder] if folder else []), *FOLDERS, f"images/{folder}")
        image = files.image_path(str(require_field(entry, "filename", path)), *folders)
        images.append(CaptionedImage(image, captions, "en"))
    if not images:
        raise DataError(f"{path} has no image whose split is {SPLIT!r}")
    return images
