"""MCMR, the image data set that MMEB-V3 (https://arxiv.org/abs/2604.23321) adds to the 36 of MMEB:
texts that name several conditions, and products that are an image with a text; hit@1.

MCMR.tar.gz of https://huggingface.co/datasets/VLM2Vec/MMEB-V3, unpacked: query.jsonl ("qid",
"query", "pos_ids"), candidates.jsonl ("candidate_id", "images", and the fields of `TEXT_FIELDS`)
and images/. All candidates are ranked. Prompts as in mcmr_dataset.py of
https://github.com/TIGER-AI-Lab/VLM2Vec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedder.vlm.prompts import ROW_IMAGE_TOKEN
from finetune.data.cells import Row
from finetune.data.pairs import Side
from finetune.data.tables import read_rows
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.benchmarks import BenchmarkFiles, require_field

URL = "https://huggingface.co/datasets/VLM2Vec/MMEB-V3"
INSTRUCTION = "Find an image-text pair that matches the given query"
TEXT_FIELDS = ("title", "description", "features", "price", "Date First Available")
METRICS = ("hit@1", "hit@5", "hit@10", "recall@10", "mrr")


def load(files: BenchmarkFiles) -> Benchmark:
    """Read the queries and their candidates; raises `DataError`."""
    query_file = files.find_file("query.jsonl", "the queries of MCMR", URL)
    candidate_file = files.find_file("candidates.jsonl", "the candidates of MCMR", URL)
    documents, indices = DocumentSet(), dict[str, int]()
    for _, row in read_rows(candidate_file):
        name = str(require_field(row, "candidate_id", candidate_file))
        text = _format_candidate(row) or f"candidate_id: {name}"
        image = _find_image(row, files, candidate_file)
        # the authors join an empty instruction, so there are two blanks
        indices[name] = documents.add(Side(text, image, None, f"{ROW_IMAGE_TOKEN}  {text}"))
    instruction = files.instruction_for(INSTRUCTION)
    queries = []
    for _, row in read_rows(query_file):
        text = _format_value(require_field(row, "query", query_file))
        relevant = [str(name) for name in require_field(row, "pos_ids", query_file)]
        if unknown := [name for name in relevant if name not in indices]:
            raise DataError(
                f"{query_file} names {unknown[0]}, which {candidate_file} does not have"
            )
        queries.append(
            BenchmarkQuery(
                id=str(require_field(row, "qid", query_file)),
                sides=(Side(text, None, instruction, f"{INSTRUCTION} {text}"),),
                relevant={indices[name]: 1 for name in relevant},
                direction="t2it",
                language="en",
            )
        )
    return files.build("MCMR", METRICS[0], METRICS, queries, documents)


def _format_candidate(row: Row) -> str:
    values = {field: _format_value(row.get(field)) for field in TEXT_FIELDS}
    return "\n".join(f"{field}: {value}" for field, value in values.items() if value)


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(text for text in map(_format_value, value) if text)
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True)
    return "" if value is None else str(value).strip()


def _find_image(row: Row, files: BenchmarkFiles, path: Path) -> str:
    """The first of a candidate's images that is there, by the last part of its address; otherwise
    the path of the first, which is reported later."""
    images = row.get("images") or []
    names = []
    for image in [images] if isinstance(images, Mapping) else images:
        address = image
        if isinstance(image, Mapping):
            address = image.get("url") or image.get("path") or image.get("image") or ""
        names.append(str(address).strip().partition("?")[0].rpartition("/")[2])
    paths = [files.image_path(name, "images", "MCMR/images") for name in names if name]
    if not paths:
        raise DataError(f"{path}: candidate {row.get('candidate_id')} has no image")
    return next((image for image in paths if Path(image).is_file()), paths[0])
