"""MMEB (https://arxiv.org/abs/2410.05160) and the image part of MMEB-V2
(https://arxiv.org/abs/2507.04590): 36 data sets in four meta-tasks, precision@1.

Rows `qry_text, qry_img_path, tgt_text[], tgt_img_path[]` and in V2 `qry_inst, tgt_inst`, as in
https://huggingface.co/datasets/TIGER-Lab/MMEB-eval and ziyjiang/MMEB_Test_Instruct: a folder of
Parquet files for each data set, or SET.jsonl. The relevant document is the first target of a row,
whose targets are ranked among themselves, each once. Means over data sets are unweighted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from finetune.data.formats import split_instruction
from finetune.data.pairs import Side
from finetune.data.tables import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks import BenchmarkFiles, require_field

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
    """Read the data sets that are present; raises `DataError`."""
    tables = find_tables(files.path)
    if not tables:
        raise DataError(
            f"{files.path} has no data set, such as CIRR/test-00000-of-00001.parquet or "
            f"CIRR.jsonl; MMEB is published at {URL}"
        )
    documents, queries = DocumentSet(), list[BenchmarkQuery]()
    for name, paths in tables.items():
        queries += read_queries(name, paths, files, documents)
    return files.build(
        "MMEB", "precision@1", METRICS, queries, documents, macro=True, means=META_TASKS
    )


def find_tables(path: Path) -> dict[str, list[Path]]:
    """Data set -> the files of its rows."""
    tables: dict[str, list[Path]] = {}
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.suffix in (".parquet", ".jsonl"):
            is_data_set = file.suffix == ".jsonl" and file.stem != "test"
            tables.setdefault(file.stem if is_data_set else file.parent.name, []).append(file)
    return tables


def read_queries(
    dataset: str,
    paths: list[Path],
    files: BenchmarkFiles,
    documents: DocumentSet,
    language: str | None = None,
) -> Iterator[BenchmarkQuery]:
    """The queries of a data set, in the order of its rows; raises `DataError`.

    Rows with the same candidates share them. With `language`, the rows are one language of a set
    rather than a data set of their own.
    """
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}
    numbered = enumerate(((path, row) for path in paths for _, row in read_rows(path)), 1)
    for number, (path, row) in numbered:
        text, image = (require_field(row, f"qry_{name}", path) for name in ("text", "img_path"))
        query = _parse_side(row, "qry", text, image, files)
        targets = [documents.add(side) for side in _parse_targets(row, files, path)]
        if not targets:
            raise DataError(f"{path}, row {number} has no target")
        candidates = tuple(sorted(set(targets)))
        positive = documents.sides[targets[0]]
        # an image is the same in every language, whatever its folder is called
        cluster = Path(positive.image).name if positive.image else positive.text or ""
        yield BenchmarkQuery(
            id=f"{dataset} {number}",
            sides=(query,),
            relevant={targets[0]: 1},
            direction=f"{query.kind}2{positive.kind}",
            language=language,
            dataset="" if language else dataset,
            cluster=cluster if language else "",
            candidates=shared.setdefault(candidates, candidates),
        )


def _parse_targets(row: Mapping[str, Any], files: BenchmarkFiles, path: Path) -> Iterator[Side]:
    texts, images = row.get("tgt_text") or [], row.get("tgt_img_path") or []
    if not isinstance(texts, list) or not isinstance(images, list):
        raise DataError(
            f"{path}: tgt_text and tgt_img_path must be lists whose first entry is relevant"
        )
    for text, image in zip_longest(texts, images, fillvalue=""):
        yield _parse_side(row, "tgt", text, image, files)


def _parse_side(
    row: Mapping[str, Any], name: str, text: str, image: str, files: BenchmarkFiles
) -> Side:
    """`<name>_inst` is a column of V2; V1 has the instruction in the text."""
    instruction, content = split_instruction(
        f"{row.get(f'{name}_inst') or ''} {text or ''}".strip(),
        has_image=bool(image),
        is_query=name == "qry",
    )
    path = files.image_path(image, "images", "image-tasks", "MMEB") if image else None
    if not (content or path):  # nothing but an instruction
        instruction, content = "", instruction
    return Side(content or None, path, files.instruction_for(instruction) if instruction else None)
