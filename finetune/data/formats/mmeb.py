"""MMEB-train's columns, which are those of our own files too.

`qry`, `qry_image_path`, `pos_text`, `pos_image_path`, `neg_text`, `neg_image_path`
(https://huggingface.co/datasets/TIGER-Lab/MMEB-train); mmE5's rows have `modality` as well. Ours
have `qry_instruction`, `pos_instruction`, `language`, `item` and `dataset` beside them. "" is none.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

from finetune.data.formats.cells import (
    Row,
    get_language,
    get_text,
    get_texts,
    make_side,
    require_side,
    resolve_image_path,
)
from finetune.data.formats.mmeb_instructions import has_mmeb_markup, split_instruction
from finetune.data.pairs import Pair, Side

COLUMNS = ("qry", "qry_image_path", "pos_text", "pos_image_path")


def is_mmeb(row: Row) -> bool:
    return any(name in row for name in COLUMNS)


def parse_row(row: Row, root: Path, dataset: str = "") -> Pair:
    """The pair of a row, relative paths of pictures told from `root`; raises `DataError`.

    Without columns of instructions these are told from the texts, where the row is written as
    MMEB's are. `dataset` is the name of rows that say none.
    """
    mixed = not {"qry_instruction", "pos_instruction"} & row.keys() and _has_mixed_instructions(row)
    query = require_side(_parse_side(row, "qry", "qry", root, mixed), "query (qry, qry_image_path)")
    positive = _parse_side(row, "pos_text", "pos", root, mixed)
    positive = require_side(positive, "positive (pos_text, pos_image_path)")
    return Pair(
        query,
        positive,
        _parse_negatives(row, root, mixed, positive),
        get_language(row, "language"),
        get_text(row, "item"),
        get_text(row, "dataset") if "dataset" in row else dataset,
    )


def to_row(pair: Pair) -> dict[str, Any]:
    """The row of a pair, its pictures with absolute paths."""
    return {
        "qry": pair.query.text or "",
        "qry_image_path": _absolute_path(pair.query),
        "qry_instruction": pair.query.instruction or "",
        "pos_text": pair.positive.text or "",
        "pos_image_path": _absolute_path(pair.positive),
        "pos_instruction": pair.positive.instruction or "",
        "neg_text": [side.text or "" for side in pair.negatives],
        "neg_image_path": [_absolute_path(side) for side in pair.negatives],
        "language": pair.language or "",
        "item": pair.item,
        "dataset": pair.dataset,
    }


def _has_mixed_instructions(row: Row) -> bool:
    return "modality" in row or any(
        has_mmeb_markup(get_text(row, name)) for name in ("qry", "pos_text")
    )


def _parse_side(row: Row, text_column: str, prefix: str, root: Path, mixed: bool) -> Side | None:
    text, instruction = get_text(row, text_column), get_text(row, f"{prefix}_instruction")
    image = resolve_image_path(get_text(row, f"{prefix}_image_path"), root)
    if mixed:
        instruction, text = split_instruction(
            text, has_image=image is not None, is_query=prefix == "qry"
        )
    return make_side(text, image, instruction)


def _parse_negatives(row: Row, root: Path, mixed: bool, positive: Side) -> tuple[Side, ...]:
    """The negatives; one that says no instruction has the positive's, where it is of its kind."""
    texts, images = get_texts(row, "neg_text"), get_texts(row, "neg_image_path")
    found = []
    for negative_text, path in zip_longest(texts, images, fillvalue=""):
        text, instruction, image = negative_text, "", resolve_image_path(path, root)
        if mixed:
            instruction, text = split_instruction(text, has_image=image is not None, is_query=False)
        is_same_kind = bool(image) == bool(positive.image)
        found.append(
            make_side(text, image, instruction or (positive.instruction or "") * is_same_kind)
        )
    return tuple(negative for negative in found if negative is not None)


def _absolute_path(side: Side) -> str:
    return str(Path(side.image).absolute()) if side.image else ""
