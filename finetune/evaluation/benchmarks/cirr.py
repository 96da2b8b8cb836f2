"""CIRR (https://arxiv.org/abs/2108.04024): an image and a change -> the changed image.

captions/cap.rc2.val.json: [{"pairid", "reference", "target_hard", "caption", "img_set":
{"members"}}]; image_splits/split.rc2.val.json: {name: relative path}; images in img_raw. The
reference itself is never ranked. `subset`: among the five others of its set of six, recall_subset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedder.vlm.prompts import COMPOSED_QUERY
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks.files import E5V, BenchmarkFiles, read_json, require_field
from finetune.evaluation.metrics import RANK_METRICS, RECALL_METRICS

URL = "https://github.com/Cuberick-Orion/CIRR, branch cirr_dataset"
SUBSET_METRICS = ("recall@1", "recall@2", "recall@3")


def load(files: BenchmarkFiles) -> Benchmark:
    """The validation split among all its 2,297 images; raises `DataError`."""
    return _build(files, "CIRR", (*RECALL_METRICS, *RANK_METRICS), members=False)


def subset(files: BenchmarkFiles) -> Benchmark:
    """Each query among the other images of its set; raises `DataError`."""
    return _build(files, "CIRR subset", SUBSET_METRICS, members=True)


def _build(
    files: BenchmarkFiles, name: str, metrics: tuple[str, ...], *, members: bool
) -> Benchmark:
    captions = files.find_file("cap.rc2.val.json", "the changes", URL)
    split = files.find_file("split.rc2.val.json", "the paths of the images", URL)
    instruction = "cirr" if files.family == E5V else None
    documents, indices = DocumentSet(), dict[str, int]()
    for image_name, path in read_json(split).items():
        image = files.image_path(str(path).removeprefix("./"), "img_raw", "images")
        indices[image_name] = documents.add(Side(image=image, instruction=instruction))
    entries = read_json(captions)
    _check_entries(entries, indices, captions, split)
    queries = []
    for entry in entries:
        reference = indices[entry["reference"]]
        side = Side(
            str(entry["caption"]),
            documents.sides[reference].image,
            instruction or COMPOSED_QUERY,
        )
        candidates = tuple(indices[member] for member in entry["img_set"]["members"])
        queries.append(
            BenchmarkQuery(
                id=str(require_field(entry, "pairid", captions)),
                sides=(side,),
                relevant={indices[entry["target_hard"]]: 1},
                direction="it2i",
                language="en",
                cluster=entry["reference"],
                candidates=candidates if members else None,
                exclude=frozenset({reference}),
            )
        )
    return files.build(name, "recall@1", metrics, queries, documents)


def _check_entries(
    entries: Sequence[Mapping[str, Any]], indices: Mapping[str, int], captions: Path, split: Path
) -> None:
    """Raise `DataError` where an entry lacks a field, or names an image that the split lacks."""
    for entry in entries:
        names = [require_field(entry, key, captions) for key in ("reference", "target_hard")]
        require_field(entry, "caption", captions)
        members = require_field(require_field(entry, "img_set", captions), "members", captions)
        unknown = [name for name in (*names, *members) if name not in indices]
        if unknown:
            raise DataError(f"{captions} names {unknown[0]}, which {split} does not have")
