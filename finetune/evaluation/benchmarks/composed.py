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

Both are also read from the tables of E5-V's authors (image_tables.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from finetune.evaluation.benchmarks.image_tables import (
    ImageStore,
    parse_text,
    parse_texts,
    read_table_rows,
)

CIRR_URL = "https://github.com/Cuberick-Orion/CIRR, branch cirr_dataset"
CIRR_SUBSET_METRICS = ("recall@1", "recall@2", "recall@3")
FASHIONIQ_URL = "https://github.com/XiaoxiaoGuo/fashion-iq"
FASHIONIQ_CATEGORIES = ("dress", "shirt", "toptee")
FASHIONIQ_INSTRUCTION = "Find an image to match the fashion image and style note:"  # MMEB's
FASHIONIQ_METRICS = ("recall@1", "recall@10", "recall@50", *RANK_METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An image and a change of it. `target` is unknown in CIRR's test split; `members` are the six
    images of its set, unknown in the tables of E5-V's authors."""

    id: str
    reference: str
    captions: tuple[str, ...]
    target: str | None
    members: tuple[str, ...] = ()
    image: str | None = None  # the reference's, where the candidates do not have it


def cirr(files: BenchmarkFiles) -> Benchmark:
    """The validation split among all its 2,297 images; raises `DataError`."""
    return _build_cirr(files, "CIRR", (*RECALL_METRICS, *RANK_METRICS), subset=False)


def cirr_subset(files: BenchmarkFiles) -> Benchmark:
    """Each query among the other images of its set; raises `DataError`."""
    return _build_cirr(files, "CIRR subset", CIRR_SUBSET_METRICS, subset=True)


def cirr_test(files: BenchmarkFiles) -> Benchmark:
    """The test split, without what is relevant, which CIRR's server alone knows; raises
    `DataError`. Each query's candidates are the images of its set, if known."""
    return _build_cirr(files, "CIRR test", CIRR_SUBSET_METRICS, subset=True, split="test")


def fashioniq(files: BenchmarkFiles) -> Benchmark:
    """The validation splits of the three categories; raises `DataError`."""
    documents = DocumentSet()
    queries = (q for name in FASHIONIQ_CATEGORIES for q in _build_fashioniq(name, files, documents))
    metrics = FASHIONIQ_METRICS
    return files.build("FashionIQ", "recall@10", metrics, queries, documents, macro=True)


def _build_cirr(
    files: BenchmarkFiles, name: str, metrics: tuple[str, ...], *, subset: bool, split: str = "val"
) -> Benchmark:
    images, changes = _read_cirr_tables(files, split) or _read_cirr_json(files, split)
    if subset and split == "val" and not all(change.members for change in changes):
        raise DataError(
            f"{files.folder} does not say which six images belong together; the subset needs "
            f"cap.rc2.val.json, published at {CIRR_URL}"
        )
    instruction = "cirr" if files.family == E5V else None
    documents = DocumentSet()
    indices = {
        key: documents.add(Side(image=image, instruction=instruction))
        for key, image in images.items()
    }
    queries = []
    for change in changes:
        reference = _find_image(change.reference, indices, files)
        members = tuple(_find_image(one, indices, files) for one in change.members)
        target = _find_image(change.target, indices, files) if change.target else None
        image = documents.sides[reference].image
        queries.append(
            BenchmarkQuery(
                id=change.id,
                sides=(Side(change.captions[0], image, instruction or COMPOSED_QUERY),),
                relevant={} if target is None else {target: 1},
                direction="it2i",
                language="en",
                cluster=change.reference,
                candidates=members if subset and members else None,
                exclude=reference,
            )
        )
    return files.build(name, "recall@1", metrics, queries, documents)


def _read_cirr_json(
    files: BenchmarkFiles, split: str
) -> tuple[Mapping[str, str], Sequence[Change]]:
    """The paths of the images by name, and the changes; raises `DataError`."""
    stem = "test1" if split == "test" else split
    captions = files.find_file(f"cap.rc2.{stem}.json", "the changes", CIRR_URL)
    paths = files.find_file(f"split.rc2.{stem}.json", "the paths of the images", CIRR_URL)
    images = {
        str(name): files.image_path(str(path).removeprefix("./"), "img_raw", "images")
        for name, path in read_json(paths).items()
    }

    def parse(entry: Any) -> Change:
        return Change(
            id=str(require_field(entry, "pairid", captions)),
            reference=str(require_field(entry, "reference", captions)),
            target=None if split == "test" else str(require_field(entry, "target_hard", captions)),
            captions=(str(require_field(entry, "caption", captions)),),
            members=tuple(
                map(
                    str,
                    require_field(require_field(entry, "img_set", captions), "members", captions),
                )
            ),
        )

    return images, [parse(entry) for entry in read_json(captions)]


def _read_cirr_tables(
    files: BenchmarkFiles, split: str
) -> tuple[Mapping[str, str], Sequence[Change]] | None:
    """The same from the tables of E5-V's authors, if they are there."""
    changes = [
        Change(
            id=str(row.get("pairid", number)),
            reference=parse_text(row, "candidate_id", path),
            target=None if split == "test" else parse_text(row, "target_id", path),
            captions=(parse_text(row, "caption", path),),
        )
        for number, (path, row) in enumerate(read_table_rows(files, f"cirr_{split}", split), 1)
    ]
    store = ImageStore(files, "cirr_imgs")
    images = {
        (name := parse_text(row, "id", path)): store.add(row, "img", name, path)
        for path, row in read_table_rows(files, "cirr_imgs", split)
    }
    return (images, changes) if images and changes else None


def _build_fashioniq(
    category: str, files: BenchmarkFiles, documents: DocumentSet
) -> Iterator[BenchmarkQuery]:
    images, changes = _read_fashioniq_tables(category, files) or _read_fashioniq_json(
        category, files
    )
    e5v = files.family == E5V
    instruction = FASHIONIQ_PREFIX + ("shirt" if category == "toptee" else category)
    indices = {
        name: documents.add(Side(image=image, instruction=instruction if e5v else None))
        for name, image in images.items()
    }
    pool = tuple(indices.values())
    for change in changes:
        texts = join_fashioniq_captions(*change.captions)
        yield BenchmarkQuery(
            id=change.id,
            sides=tuple(
                Side(text, change.image, instruction if e5v else FASHIONIQ_INSTRUCTION)
                for text in (texts if e5v else texts[:1])
            ),
            relevant={_find_image(change.target, indices, files): 1},
            direction="it2i",
            language="en",
            dataset=category,
            cluster=change.reference,
            candidates=pool,
        )


def _read_fashioniq_json(
    category: str, files: BenchmarkFiles
) -> tuple[Mapping[str, str], Sequence[Change]]:
    """The paths of the images by name, and the changes; raises `DataError`."""
    captions = files.find_file(f"cap.{category}.val.json", "the changes", FASHIONIQ_URL)
    split = files.find_file(f"split.{category}.val.json", "the names of the images", FASHIONIQ_URL)
    images = {name: _fashioniq_image(files, name) for name in map(str, read_json(split))}

    def parse(number: int, entry: Any) -> Change:
        reference = str(require_field(entry, "candidate", captions))
        return Change(
            id=f"{category} {number}",
            reference=reference,
            target=str(require_field(entry, "target", captions)),
            captions=tuple(map(str, require_field(entry, "captions", captions)[:2])),
            image=_fashioniq_image(files, reference),
        )

    return images, [parse(number, entry) for number, entry in enumerate(read_json(captions), 1)]


def _read_fashioniq_tables(
    category: str, files: BenchmarkFiles
) -> tuple[Mapping[str, str], Sequence[Change]] | None:
    """The same from the tables of E5-V's authors, if they are there."""
    store = ImageStore(files, f"fashioniq_val_imgs/{category}")
    images = {
        (name := parse_text(row, "id", path)): store.add(row, "img", name, path)
        for path, row in read_table_rows(files, "fashioniq_val_imgs", "val")
        if row.get("category") == category
    }
    if not images:
        return None
    rows = read_table_rows(files, "fashioniq_val", "val")
    references = ImageStore(files, f"fashioniq_val/{category}")
    changes = []
    for number, (path, row) in enumerate(
        ((path, row) for path, row in rows if row.get("category") == category), 1
    ):
        image = references.add(row, "candidate", str(number), path)
        changes.append(
            Change(
                id=f"{category} {number}",
                reference=str(row.get("candidate_id", number)),
                target=parse_text(row, "target_id", path),
                captions=tuple(parse_texts(row, "caption", path)[:2]),
                image=image,
            )
        )
    return images, changes


def _find_image(name: str | None, indices: Mapping[str, int], files: BenchmarkFiles) -> int:
    """The document of an image; raises `DataError`."""
    if name is None or name not in indices:
        raise DataError(f"{files.folder}: a change names {name}, which is none of the images")
    return indices[name]


def _fashioniq_image(files: BenchmarkFiles, name: str) -> str:
    paths = [files.image_path(f"{name}.{end}", "images", "image_data") for end in ("jpg", "png")]
    return next((path for path in paths if Path(path).is_file()), paths[0])
