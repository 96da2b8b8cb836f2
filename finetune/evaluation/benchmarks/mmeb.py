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

from finetune.data.formats.mmeb_instructions import split_instruction
from finetune.data.formats.tables import read_rows
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks.files import BenchmarkFiles, require_field

URL = "https://huggingface.co/datasets/TIGER-Lab/MMEB-eval"
METRICS = ("precision@1", "recall@5", "mrr")
META_TASKS = {
    "classification": ("ImageNet-1K", "N24News", "HatefulMemes", "VOC2007", "SUN397", "Place365",
                       "ImageNet-A", "ImageNet-R", "ObjectNet", "Country211"),
    "visual question answering": ("OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA",
                                  "Visual7W", "ScienceQA", "VizWiz", "GQA", "TextVQA"),
    "retrieval": ("VisDial", "CIRR", "VisualNews_t2i", "VisualNews_i2t", "MSCOCO_t2i",
                  "MSCOCO_i2t", "NIGHTS", "WebQA", "FashionIQ", "Wiki-SS-NQ", "OVEN", "EDIS"),
    "grounding": ("MSCOCO", "RefCOCO", "RefCOCO-Matching", "Visual7W-Pointing"),
}  # fmt: skip


def load(files: BenchmarkFiles) -> Benchmark:
    """The data sets that are there; raises `DataError`."""
    found = find_tables(files.path)
    if not found:
        raise DataError(
            f"{files.path} has no data set, such as CIRR/test-00000-of-00001.parquet or "
            f"CIRR.jsonl; MMEB is published at {URL}"
        )
    documents, made = DocumentSet(), list[BenchmarkQuery]()
    for name, paths in found.items():
        made += read_queries(name, paths, files, documents)
    return Benchmark(
        "MMEB",
        str(files.path),
        "precision@1",
        METRICS,
        tuple(made),
        tuple(documents.sides),
        macro=True,
        means=META_TASKS,
    )


def find_tables(path: Path) -> dict[str, list[Path]]:
    """Data set -> the files of its rows."""
    found: dict[str, list[Path]] = {}
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    for file in files:
        if file.suffix in (".parquet", ".jsonl"):
            alone = file.suffix == ".jsonl" and file.stem != "test"
            found.setdefault(file.stem if alone else file.parent.name, []).append(file)
    return found


def read_queries(
    dataset: str,
    paths: list[Path],
    files: BenchmarkFiles,
    documents: DocumentSet,
    language: str | None = None,
) -> Iterator[BenchmarkQuery]:
    """The questions of a data set, in the order of its rows; raises `DataError`. Rows with the same
    candidates share them."""
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}
    number = 0
    for path in paths:
        for _, row in read_rows(path):
            number += 1
            query = _parse_side(
                row,
                "qry",
                require_field(row, "qry_text", path),
                require_field(row, "qry_img_path", path),
                files,
            )
            places = [documents.add(side) for side in _parse_targets(row, files, path)]
            if not places:
                raise DataError(f"{path}, row {number} has no target")
            candidates = tuple(sorted(set(places)))
            yield BenchmarkQuery(
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


def _parse_targets(row: Mapping[str, Any], files: BenchmarkFiles, path: Path) -> Iterator[Side]:
    texts, images = row.get("tgt_text") or [], row.get("tgt_img_path") or []
    if not isinstance(texts, list) or not isinstance(images, list):
        raise DataError(
            f"{path}: tgt_text and tgt_img_path are lists; the right answer comes first"
        )
    count = max(len(texts), len(images))
    texts, images = ([*given, *[""] * (count - len(given))] for given in (texts, images))
    for text, image in zip(texts, images, strict=True):
        yield _parse_side(row, "tgt", text, image, files)


def _parse_side(
    row: Mapping[str, Any], name: str, text: str, image: str, files: BenchmarkFiles
) -> Side:
    """`<name>_inst` is V2's column; V1 writes the instruction into the text."""
    pictured = bool(image)
    instruction, words = split_instruction(
        f"{row.get(f'{name}_inst') or ''} {text or ''}".strip(),
        has_image=pictured,
        is_query=name == "qry",
    )
    picture = files.image_path(image, "images", "image-tasks", "MMEB") if pictured else None
    if not (words or picture):  # nothing but an instruction
        instruction, words = "", instruction
    return Side(words or None, picture, files.instruction_for(instruction) if instruction else None)
