"""MMEB (https://arxiv.org/abs/2410.05160) and the image part of MMEB-V2
(https://arxiv.org/abs/2507.04590): 36 data sets in four meta-tasks, precision@1.

Rows `qry_text, qry_img_path, tgt_text[], tgt_img_path[]` and in V2 `qry_inst, tgt_inst`, as
https://huggingface.co/datasets/TIGER-Lab/MMEB-eval and ziyjiang/MMEB_Test_Instruct have them: a
folder a data set with Parquet files, or SET.jsonl. The right answer is the first of a row, and a
row's answers are ranked among themselves, each once. Means over data sets are unweighted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.data.instructions import divided
from finetune.data.pairs import Side
from finetune.data.tables import rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, Documents, Question
from finetune.evaluation.benchmarks.place import Place, field

HOME = "https://huggingface.co/datasets/TIGER-Lab/MMEB-eval"
METRICS = ("precision@1", "recall@5", "mrr")
TASKS = {
    "classification": ("ImageNet-1K", "N24News", "HatefulMemes", "VOC2007", "SUN397", "Place365",
                       "ImageNet-A", "ImageNet-R", "ObjectNet", "Country211"),
    "visual question answering": ("OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA",
                                  "Visual7W", "ScienceQA", "VizWiz", "GQA", "TextVQA"),
    "retrieval": ("VisDial", "CIRR", "VisualNews_t2i", "VisualNews_i2t", "MSCOCO_t2i",
                  "MSCOCO_i2t", "NIGHTS", "WebQA", "FashionIQ", "Wiki-SS-NQ", "OVEN", "EDIS"),
    "grounding": ("MSCOCO", "RefCOCO", "RefCOCO-Matching", "Visual7W-Pointing"),
}  # fmt: skip


def load(place: Place) -> Benchmark:
    """The data sets that are there; raises `DataError`."""
    found = tables(place.path)
    if not found:
        raise DataError(
            f"{place.path} has no data set, such as CIRR/test-00000-of-00001.parquet or "
            f"CIRR.jsonl; MMEB is published at {HOME}"
        )
    documents, made = Documents(), list[Question]()
    for name, paths in found.items():
        made += questions(name, paths, place, documents)
    return Benchmark(
        "MMEB",
        str(place.path),
        "precision@1",
        METRICS,
        tuple(made),
        tuple(documents.sides),
        macro=True,
        means=TASKS,
    )


def tables(path: Path) -> dict[str, list[Path]]:
    """Data set -> the files of its rows."""
    found: dict[str, list[Path]] = {}
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.suffix in (".parquet", ".jsonl"):
            alone = file.suffix == ".jsonl" and file.stem != "test"
            found.setdefault(file.stem if alone else file.parent.name, []).append(file)
    return found


def questions(
    dataset: str,
    paths: list[Path],
    place: Place,
    documents: Documents,
    language: str | None = None,
) -> Iterator[Question]:
    """The questions of a data set, in the order of its rows; raises `DataError`. Rows with the same
    candidates share them."""
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}
    number = 0
    for path in paths:
        for _, row in rows(path):
            number += 1
            query = _side(
                row, "qry", field(row, "qry_text", path), field(row, "qry_img_path", path), place
            )
            places = [documents.add(side) for side in _targets(row, place, path)]
            if not places:
                raise DataError(f"{path}, row {number} has no target")
            candidates = tuple(sorted(set(places)))
            yield Question(
                f"{dataset} {number}",
                (query,),
                {places[0]: 1},
                f"{query.kind}2{documents.sides[places[0]].kind}",
                language,
                dataset="" if language else dataset,
                cluster=_cluster(documents.sides[places[0]]) if language else "",
                candidates=shared.setdefault(candidates, candidates),
            )


def _cluster(side: Side) -> str:
    """A picture is the same in every language, whatever its folder is called."""
    return Path(side.image).name if side.image else side.text or ""


def _targets(row: Mapping[str, Any], place: Place, path: Path) -> Iterator[Side]:
    texts, images = row.get("tgt_text") or [], row.get("tgt_img_path") or []
    if not isinstance(texts, list) or not isinstance(images, list):
        raise DataError(
            f"{path}: tgt_text and tgt_img_path are lists; the right answer comes first"
        )
    count = max(len(texts), len(images))
    texts, images = ([*given, *[""] * (count - len(given))] for given in (texts, images))
    for text, image in zip(texts, images, strict=True):
        yield _side(row, "tgt", text, image, place)


def _side(row: Mapping[str, Any], name: str, text: str, image: str, place: Place) -> Side:
    """`<name>_inst` is V2's column; V1 writes the instruction into the text."""
    pictured = bool(image)
    told, words = divided(
        f"{row.get(f'{name}_inst') or ''} {text or ''}".strip(),
        pictured=pictured,
        asks=name == "qry",
    )
    picture = place.picture(image, "images", "image-tasks", "MMEB") if pictured else None
    if not (words or picture):  # nothing but an instruction
        told, words = "", told
    return Side(words or None, picture, place.told(told) if told else None)
