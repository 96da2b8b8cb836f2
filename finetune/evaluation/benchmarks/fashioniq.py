"""FashionIQ (https://arxiv.org/abs/1905.12794): a garment and two captions of a change -> another.

captions/cap.dress.val.json: [{"candidate", "target", "captions": [a, b]}] for dress, shirt and
toptee; image_splits/split.dress.val.json: [name]; pictures images/NAME.jpg (or .png). Ranked within
the category, and the figures are unweighted means of the three. E5-V's authors call tops shirts
too, and add the states of the captions in both orders (retrieval.py of kongds/E5-V).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from embedder.families.e5v import FASHION, fashioniq_texts
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, Documents, Question
from finetune.evaluation.benchmarks.place import E5V, Place, field, read_json
from finetune.evaluation.metrics import REST

HOME = "https://github.com/XiaoxiaoGuo/fashion-iq"
CATEGORIES = ("dress", "shirt", "toptee")
TOLD = "Find an image to match the fashion image and style note:"  # MMEB's
METRICS = ("recall@1", "recall@10", "recall@50", *REST)


def load(place: Place) -> Benchmark:
    """Raises `DataError`."""
    documents = Documents()
    questions = [q for name in CATEGORIES for q in _category(name, place, documents)]
    return Benchmark(
        "FashionIQ",
        str(place.path),
        "recall@10",
        METRICS,
        tuple(questions),
        tuple(documents.sides),
        macro=True,
    )


def _category(category: str, place: Place, documents: Documents) -> Iterator[Question]:
    captions = place.find(f"cap.{category}.val.json", "the changes", HOME)
    split = place.find(f"split.{category}.val.json", "the pictures' names", HOME)
    e5v = place.family == E5V
    told = FASHION + ("shirt" if category == "toptee" else category)
    places = {
        str(name): documents.add(
            Side(image=_picture(place, str(name)), instruction=told if e5v else None)
        )
        for name in read_json(split)
    }
    pool = tuple(places.values())
    for number, entry in enumerate(read_json(captions), 1):
        candidate, target = (str(field(entry, key, captions)) for key in ("candidate", "target"))
        if target not in places:
            raise DataError(f"{captions} speaks of {target}, which {split} does not have")
        first, second = fashioniq_texts(*map(str, field(entry, "captions", captions)[:2]))
        texts = (first, second) if e5v else (first,)
        image = _picture(place, candidate)
        yield Question(
            f"{category} {number}",
            tuple(Side(text, image, told if e5v else TOLD) for text in texts),
            {places[target]: 1},
            "it2i",
            "en",
            dataset=category,
            cluster=candidate,
            candidates=pool,
        )


def _picture(place: Place, name: str) -> str:
    paths = [place.picture(f"{name}.{end}", "images", "image_data") for end in ("jpg", "png")]
    return next((path for path in paths if Path(path).is_file()), paths[0])
