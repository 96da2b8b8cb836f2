"""Flickr30K and COCO in Karpathy's splits (https://cs.stanford.edu/people/karpathy/deepimagesent).

dataset_flickr30k.json and dataset_coco.json: {"images": [{"split", "filename", "filepath" (COCO),
"sentences": [{"raw"}]}]}. A hit is at least one of a picture's captions; COCO has a few pictures
with more than five, of which the first five count.
"""

from __future__ import annotations

from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, Documents
from finetune.evaluation.benchmarks.captions import (
    IMAGE_TO_TEXT,
    Captioned,
    image_to_text,
    text_to_image,
)
from finetune.evaluation.benchmarks.place import Place, field, read_json
from finetune.evaluation.metrics import HIT, RECALL, REST

HOME = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
CAPTIONS = 5
FOLDERS = ("flickr30k-images", "flickr30k_images", "images", "Images")
SPLIT = "test"


def flickr30k(place: Place) -> Benchmark:
    """1,000 pictures and 5,000 captions, both ways; raises `DataError`."""
    return both_ways("Flickr30K", place, pictures(place, "dataset_flickr30k.json"))


def coco(place: Place) -> Benchmark:
    """5,000 pictures and 25,000 captions, both ways; raises `DataError`."""
    return both_ways("COCO", place, pictures(place, "dataset_coco.json"))


def pictures(place: Place, name: str) -> list[Captioned]:
    """The test pictures with their first five captions; raises `DataError`."""
    path = place.find(name, "Karpathy's split", HOME)
    found = []
    for entry in field(read_json(path), "images", path):
        if field(entry, "split", path) != SPLIT:
            continue
        sentences = field(entry, "sentences", path)[:CAPTIONS]
        captions = [str(field(sentence, "raw", path)).strip() for sentence in sentences]
        folder = str(entry.get("filepath") or "")
        image = place.picture(
            str(field(entry, "filename", path)),
            *([folder] if folder else []),
            *FOLDERS,
            f"images/{folder}",
        )
        found.append(Captioned(image, captions, "en"))
    if not found:
        raise DataError(f"{path} has no picture whose split is {SPLIT!r}")
    return found


def both_ways(name: str, place: Place, captioned: list[Captioned]) -> Benchmark:
    documents = Documents()
    questions = [
        *text_to_image(captioned, documents),
        *image_to_text(captioned, documents, place.told(IMAGE_TO_TEXT)),
    ]
    return Benchmark(
        name,
        str(place.path),
        "hit@1",
        (*HIT, *RECALL, *REST),
        tuple(questions),
        tuple(documents.sides),
    )
