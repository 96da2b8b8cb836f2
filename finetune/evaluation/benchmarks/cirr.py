"""CIRR (https://arxiv.org/abs/2108.04024): a picture and a change -> the changed picture.

captions/cap.rc2.val.json: [{"pairid", "reference", "target_hard", "caption", "img_set":
{"members"}}]; image_splits/split.rc2.val.json: {name: relative path}; pictures in img_raw. The
reference itself is never ranked. `subset`: among the five others of its set of six, recall_subset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedder.families import mmeb
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, Documents, Question
from finetune.evaluation.benchmarks.place import E5V, Place, field, read_json
from finetune.evaluation.metrics import RECALL, REST

HOME = "https://github.com/Cuberick-Orion/CIRR, branch cirr_dataset"
SUBSET = ("recall@1", "recall@2", "recall@3")


def load(place: Place) -> Benchmark:
    """The validation split among all its 2,297 pictures; raises `DataError`."""
    documents, asked = _asked(place)
    return Benchmark(
        "CIRR", str(place.path), "recall@1", (*RECALL, *REST), tuple(asked), tuple(documents.sides)
    )


def subset(place: Place) -> Benchmark:
    """Each question among the other pictures of its set; raises `DataError`."""
    documents, asked = _asked(place, members=True)
    return Benchmark(
        "CIRR subset", str(place.path), "recall@1", SUBSET, tuple(asked), tuple(documents.sides)
    )


def _asked(place: Place, members: bool = False) -> tuple[Documents, list[Question]]:
    captions = place.find("cap.rc2.val.json", "the changes", HOME)
    split = place.find("split.rc2.val.json", "the pictures' paths", HOME)
    told = "cirr" if place.family == E5V else None
    documents, places = Documents(), dict[str, int]()
    for name, path in read_json(split).items():
        image = place.picture(str(path).removeprefix("./"), "img_raw", "images")
        places[name] = documents.add(Side(image=image, instruction=told))
    entries = read_json(captions)
    _all_there(entries, places, captions, split)
    return documents, [
        Question(
            str(field(entry, "pairid", captions)),
            (_query(entry, documents.sides[places[entry["reference"]]], told),),
            {places[entry["target_hard"]]: 1},
            "it2i",
            "en",
            cluster=entry["reference"],
            candidates=tuple(places[m] for m in entry["img_set"]["members"]) if members else None,
            exclude=frozenset({places[entry["reference"]]}),
        )
        for entry in entries
    ]


def _query(entry: Mapping[str, Any], reference: Side, told: str | None) -> Side:
    return Side(str(entry["caption"]), reference.image, told or mmeb.COMPOSED_QUERY)


def _all_there(
    entries: Sequence[Mapping[str, Any]], places: Mapping[str, int], captions: Path, split: Path
) -> None:
    """Raise `DataError` where an entry lacks a part, or speaks of a picture that is none."""
    for entry in entries:
        named = [field(entry, key, captions) for key in ("reference", "target_hard")]
        field(entry, "caption", captions)
        members = field(field(entry, "img_set", captions), "members", captions)
        unknown = [name for name in (*named, *members) if name not in places]
        if unknown:
            raise DataError(f"{captions} speaks of {unknown[0]}, which {split} does not have")
