"""An image and a change -> the changed image: CIRR and FashionIQ.

CIRR (https://arxiv.org/abs/2108.04024), captions/cap.rc2.val.json: [{"pairid", "reference",
"target_hard", "caption", "img_set": {"members"}}]; image_splits/split.rc2.val.json: {name: relative
path}; images in img_raw. The reference itself is never ranked. The subset: among the five others of
its set of six, recall_subset.

FashionIQ (https://arxiv.org/abs/1905.12794), a garment and two captions of a change,
captions/cap.dress.val.json: [{"candidate", "target", "captions": [a, b]}] for dress, shirt and
toptee; image_splits/split.dress.val.json: [name]; images images/NAME.jpg (or .png). Ranked within
the category; the metrics are unweighted means of the three. E5-V's authors call tops shirts too,
and add the states of the captions in both orders (retrieval.py of kongds/E5-V).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embedder.families.e5v import FASHIONIQ_PREFIX, join_fashioniq_captions
from embedder.vlm.prompts import COMPOSED_QUERY
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import (
    RANK_METRICS,
    RECALL_METRICS,
    Benchmark,
    BenchmarkQuery,
    DocumentSet,
)
from finetune.evaluation.benchmarks import E5V, BenchmarkFiles, read_json, require_field

CIRR_URL = "https://github.com/Cuberick-Orion/CIRR, branch cirr_dataset"
CIRR_SUBSET_METRICS = ("recall@1", "recall@2", "recall@3")
FASHIONIQ_URL = "https://github.com/XiaoxiaoGuo/fashion-iq"
FASHIONIQ_CATEGORIES = ("dress", "shirt", "toptee")
FASHIONIQ_INSTRUCTION = "Find an image to match the fashion image and style note:"  # MMEB's
FASHIONIQ_METRICS = ("recall@1", "recall@10", "recall@50", *RANK_METRICS)


def cirr(files: BenchmarkFiles) -> Benchmark:
    """The validation split among all its 2,297 images; raises `DataError`."""
    return _read_cirr(files, "CIRR", (*RECALL_METRICS, *RANK_METRICS), subset=False)


def cirr_subset(files: BenchmarkFiles) -> Benchmark:
    """Each query among the other images of its set; raises `DataError`."""
    return _read_cirr(files, "CIRR subset", CIRR_SUBSET_METRICS, subset=True)


def fashioniq(files: BenchmarkFiles) -> Benchmark:
    """The validation splits of the three categories; raises `DataError`."""
    documents = DocumentSet()
    queries = (q for name in FASHIONIQ_CATEGORIES for q in _read_fashioniq(name, files, documents))
    metrics = FASHIONIQ_METRICS
    return files.build("FashionIQ", "recall@10", metrics, queries, documents, macro=True)


def _read_cirr(
    files: BenchmarkFiles, name: str, metrics: tuple[str, ...], *, subset: bool
) -> Benchmark:
    captions = files.find_file("cap.rc2.val.json", "the changes", CIRR_URL)
    split = files.find_file("split.rc2.val.json", "the paths of the images", CIRR_URL)
    instruction = "cirr" if files.family == E5V else None
    documents, indices = DocumentSet(), dict[str, int]()
    for image_name, path in read_json(split).items():
        image = files.image_path(str(path).removeprefix("./"), "img_raw", "images")
        indices[image_name] = documents.add(Side(image=image, instruction=instruction))
    queries = []
    for entry in read_json(captions):
        reference, target = (
            _find_image(require_field(entry, key, captions), indices, captions, split)
            for key in ("reference", "target_hard")
        )
        text = str(require_field(entry, "caption", captions))
        reference_image = documents.sides[reference].image
        members = require_field(require_field(entry, "img_set", captions), "members", captions)
        candidates = tuple(_find_image(one, indices, captions, split) for one in members)
        queries.append(
            BenchmarkQuery(
                id=str(require_field(entry, "pairid", captions)),
                sides=(Side(text, reference_image, instruction or COMPOSED_QUERY),),
                relevant={target: 1},
                direction="it2i",
                language="en",
                cluster=entry["reference"],
                candidates=candidates if subset else None,
                exclude=reference,
            )
        )
    return files.build(name, "recall@1", metrics, queries, documents)


def _read_fashioniq(
    category: str, files: BenchmarkFiles, documents: DocumentSet
) -> Iterator[BenchmarkQuery]:
    captions = files.find_file(f"cap.{category}.val.json", "the changes", FASHIONIQ_URL)
    split = files.find_file(f"split.{category}.val.json", "the names of the images", FASHIONIQ_URL)
    e5v = files.family == E5V
    instruction = FASHIONIQ_PREFIX + ("shirt" if category == "toptee" else category)
    indices = {}
    for name in map(str, read_json(split)):
        side = Side(image=_fashioniq_image(files, name), instruction=instruction if e5v else None)
        indices[name] = documents.add(side)
    pool = tuple(indices.values())
    for number, entry in enumerate(read_json(captions), 1):
        candidate, target = (
            str(require_field(entry, key, captions)) for key in ("candidate", "target")
        )
        texts = join_fashioniq_captions(*map(str, require_field(entry, "captions", captions)[:2]))
        image = _fashioniq_image(files, candidate)
        yield BenchmarkQuery(
            id=f"{category} {number}",
            sides=tuple(
                Side(text, image, instruction if e5v else FASHIONIQ_INSTRUCTION)
                for text in (texts if e5v else texts[:1])
            ),
            relevant={_find_image(target, indices, captions, split): 1},
            direction="it2i",
            language="en",
            dataset=category,
            cluster=candidate,
            candidates=pool,
        )


def _find_image(name: Any, indices: Mapping[str, int], captions: Path, split: Path) -> int:
    """The document of an image that `captions` name; raises `DataError`."""
    if name not in indices:
        raise DataError(f"{captions} names {name}, which {split} does not have")
    return indices[name]


def _fashioniq_image(files: BenchmarkFiles, name: str) -> str:
    paths = [files.image_path(f"{name}.{end}", "images", "image_data") for end in ("jpg", "png")]
    return next((path for path in paths if Path(path).is_file()), paths[0])
