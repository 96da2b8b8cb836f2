"""MMEB (https://arxiv.org/abs/2410.05160) and the image part of MMEB-V2
(https://arxiv.org/abs/2507.04590) and V3 (https://arxiv.org/abs/2604.23321): 36 data sets in four
meta-tasks, precision@1.

Rows `qry_text, qry_img_path, tgt_text[], tgt_img_path[]` and in V2 `qry_inst, tgt_inst`, as in
https://huggingface.co/datasets/TIGER-Lab/MMEB-eval and ziyjiang/MMEB_Test_Instruct: a folder of
Parquet files for each data set, or SET.jsonl. The relevant document is the first target of a row,
whose targets are ranked among themselves, each once. Means over data sets are unweighted. V3 has
the same rows in its folder image-query, with the instructions in the texts as in V1, and one more
data set, which mcmr.py reads.

VLM2Vec and mmE5 read a row word for word, with its line ends; other models, instruction and text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from finetune.data.mmeb_rows import make_prompt, split_instruction
from finetune.data.pairs import Side
from finetune.data.tables import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks import BenchmarkFiles, require_field
from finetune.evaluation.benchmarks.mmeb_prompts import make_query_prompt, make_target_prompt

URL = "https://huggingface.co/datasets/TIGER-Lab/MMEB-eval"
V3_ROWS = "image-query"
METRICS = ("precision@1", "recall@5", "mrr")
IMAGE_FOLDERS = ("images", "image-tasks", "MMEB", "image-tasks/MMEB")
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
    rows = files.path / V3_ROWS
    tables = find_dataset_files(rows if rows.is_dir() else files.path)
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


def find_dataset_files(path: Path) -> dict[str, list[Path]]:
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
        text, image = (
            str(require_field(row, f"qry_{name}", path) or "") for name in ("text", "img_path")
        )
        found = _read_targets(row, path)
        query = _parse_query(row, text, image, files, dataset, any(image for _, image in found))
        targets = [
            documents.add(_parse_target(row, *target, files, dataset, bool(image)))
            for target in found
        ]
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


def _read_targets(row: Mapping[str, Any], path: Path) -> list[tuple[str, str]]:
    """The text and the image of each target."""
    texts, images = row.get("tgt_text") or [], row.get("tgt_img_path") or []
    if not isinstance(texts, list) or not isinstance(images, list):
        raise DataError(
            f"{path}: tgt_text and tgt_img_path must be lists whose first entry is relevant"
        )
    if texts and images and len(texts) != len(images):
        raise DataError(
            f"{path}: a row has {len(texts)} tgt_text and {len(images)} tgt_img_path; each target "
            'has one of both, "" for none'
        )
    pairs = zip_longest(texts, images, fillvalue="")
    return [(str(text or ""), str(image or "")) for text, image in pairs]


def _parse_query(
    row: Mapping[str, Any],
    text: str,
    image: str,
    files: BenchmarkFiles,
    dataset: str,
    finds_images: bool,
) -> Side:
    """`qry_inst` is a column of V2; V1 has the instruction in the text."""
    instruction, prompt = row.get("qry_inst"), make_prompt(text, has_image=bool(image))
    if instruction:
        prompt = make_query_prompt(
            dataset, instruction, text, has_image=bool(image), finds_images=finds_images
        )
    return _make_side(f"{instruction or ''} {text}", image, prompt, files, is_query=True)


def _parse_target(
    row: Mapping[str, Any],
    text: str,
    image: str,
    files: BenchmarkFiles,
    dataset: str,
    query_has_image: bool,
) -> Side:
    instruction, prompt = row.get("tgt_inst"), make_prompt(text, has_image=bool(image))
    if instruction and image:
        prompt = make_target_prompt(dataset, instruction, text, query_has_image=query_has_image)
    return _make_side(f"{instruction or ''} {text}", image, prompt, files, is_query=False)


def _make_side(
    text: str, image: str, prompt: str | None, files: BenchmarkFiles, *, is_query: bool
) -> Side:
    instruction, content = split_instruction(text.strip(), has_image=bool(image), is_query=is_query)
    path = files.image_path(image, *IMAGE_FOLDERS) if image else None
    if not (content or path):  # nothing but an instruction
        instruction, content = "", instruction
    if prompt == content and not is_query:  # a document that is a text has no other prompt
        prompt = None
    given = files.instruction_for(instruction) if instruction else None
    return Side(content or None, path, given, prompt)
