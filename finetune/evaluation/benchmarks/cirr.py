"""CIRR (https://arxiv.org/abs/2108.04024): a picture and a change -> the changed picture.

captions/cap.rc2.val.json: [{"pairid", "reference", "target_hard", "caption", "img_set":
{"members"}}]; image_splits/split.rc2.val.json: {name: relative path}; pictures in img_raw. The
reference itself is never ranked. `subset`: among the five others of its set of six, recall_subset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedder.families import mmeb_prompts
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks.files import E5V, BenchmarkFiles, read_json, require_field
from finetune.evaluation.metrics import RANK_METRICS, RECALL_METRICS

URL = "https://github.com/Cuberick-Orion/CIRR, branch cirr_dataset"
SUBSET_METRICS = ("recall@1", "recall@2", "recall@3")


def load(files: BenchmarkFiles) -> Benchmark:
    """The validation split among all its 2,297 pictures; raises `DataError`."""
    documents, asked = _build_queries(files)
    return Benchmark(
        "CIRR",
        str(files.path),
        "recall@1",
        (*RECALL_METRICS, *RANK_METRICS),
        tuple(asked),
        tuple(documents.sides),
    )


def subset(files: BenchmarkFiles) -> Benchmark:
    """Each question among the other pictures of its set; raises `DataError`."""
    documents, asked = _build_queries(files, members=True)
    return Benchmark(
        "CIRR subset",
        str(files.path),
        "recall@1",
        SUBSET_METRICS,
        tuple(asked),
        tuple(documents.sides),
    )


def _build_queries(
    files: BenchmarkFiles, members: bool = False
) -> tuple[DocumentSet, list[BenchmarkQuery]]:
    captions = files.find_file("cap.rc2.val.json", "the changes", URL)
    split = files.find_file("split.rc2.val.json", "the pictures' paths", URL)
    instruction = "cirr" if files.family == E5V else None
    documents, places = DocumentSet(), dict[str, int]()
    for name, path in read_json(split).items():
        image = files.image_path(str(path).removeprefix("./"), "img_raw", "images")
        places[name] = documents.add(Side(image=image, instruction=instruction))
    entries = read_json(captions)
    _check_entries(entries, places, captions, split)
    return documents, [
        BenchmarkQuery(
            str(require_field(entry, "pairid", captions)),
            (_query(entry, documents.sides[places[entry["reference"]]], instruction),),
            {places[entry["target_hard"]]: 1},
            "it2i",
            "en",
            cluster=entry["reference"],
            candidates=tuple(places[m] for m in entry["img_set"]["members"]) if members else None,
            exclude=frozenset({places[entry["reference"]]}),
        )
        for entry in entries
    ]


def _query(entry: Mapping[str, Any], reference: Side, instruction: str | None) -> Side:
    return Side(str(entry["caption"]), reference.image, instruction or mmeb_prompts.COMPOSED_QUERY)


def _check_entries(
    entries: Sequence[Mapping[str, Any]], places: Mapping[str, int], captions: Path, split: Path
) -> None:
    """Raise `DataError` where an entry lacks a part, or speaks of a picture that is none."""
    for entry in entries:
        named = [require_field(entry, key, captions) for key in ("reference", "target_hard")]
        require_field(entry, "caption", captions)
        members = require_field(require_field(entry, "img_set", captions), "members", captions)
        unknown = [name for name in (*named, *members) if name not in places]
        if unknown:
            raise DataError(f"{captions} speaks of {unknown[0]}, which {split} does not have")
