"""MMEB-train's columns, which are those of our own files too.

`qry`, `qry_image_path`, `pos_text`, `pos_image_path`, `neg_text`, `neg_image_path`
(https://huggingface.co/datasets/TIGER-Lab/MMEB-train); mmE5's rows have `modality` as well. Ours
have `qry_instruction`, `pos_instruction`, `language`, `item` and `dataset` beside them. "" is none.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

from finetune.data.cells import Row, language_of, picture, required, side, text_of, texts_of
from finetune.data.instructions import divided, is_marked
from finetune.data.pairs import Pair, Side

COLUMNS = ("qry", "qry_image_path", "pos_text", "pos_image_path")


def is_mmeb(row: Row) -> bool:
    return any(name in row for name in COLUMNS)


def parse(row: Row, root: Path, dataset: str = "") -> Pair:
    """The pair of a row, relative paths of pictures told from `root`; raises `DataError`.

    Without columns of instructions these are told from the texts, where the row is written as
    MMEB's are. `dataset` is the name of rows that say none.
    """
    mixed = not {"qry_instruction", "pos_instruction"} & row.keys() and _is_marked(row)
    query = required(_side(row, "qry", "qry", root, mixed), "query (qry, qry_image_path)")
    positive = _side(row, "pos_text", "pos", root, mixed)
    positive = required(positive, "positive (pos_text, pos_image_path)")
    return Pair(
        query,
        positive,
        _negatives(row, root, mixed, positive),
        language_of(row, "language"),
        text_of(row, "item"),
        text_of(row, "dataset") if "dataset" in row else dataset,
    )


def plain(pair: Pair) -> dict[str, Any]:
    """The row of a pair, its pictures with absolute paths."""
    return {
        "qry": pair.query.text or "",
        "qry_image_path": _absolute(pair.query),
        "qry_instruction": pair.query.instruction or "",
        "pos_text": pair.positive.text or "",
        "pos_image_path": _absolute(pair.positive),
        "pos_instruction": pair.positive.instruction or "",
        "neg_text": [side.text or "" for side in pair.negatives],
        "neg_image_path": [_absolute(side) for side in pair.negatives],
        "language": pair.language or "",
        "item": pair.item,
        "dataset": pair.dataset,
    }


def _is_marked(row: Row) -> bool:
    return "modality" in row or any(is_marked(text_of(row, name)) for name in ("qry", "pos_text"))


def _side(row: Row, words: str, name: str, root: Path, mixed: bool) -> Side | None:
    text, instruction = text_of(row, words), text_of(row, f"{name}_instruction")
    image = picture(text_of(row, f"{name}_image_path"), root)
    if mixed:
        instruction, text = divided(text, pictured=image is not None, asks=name == "qry")
    return side(text, image, instruction)


def _negatives(row: Row, root: Path, mixed: bool, positive: Side) -> tuple[Side, ...]:
    """The negatives; one that says no instruction has the positive's, where it is of its kind."""
    texts, images = texts_of(row, "neg_text"), texts_of(row, "neg_image_path")
    found = []
    for words, path in zip_longest(texts, images, fillvalue=""):
        text, told, image = words, "", picture(path, root)
        if mixed:
            told, text = divided(text, pictured=image is not None, asks=False)
        alike = bool(image) == bool(positive.image)
        found.append(side(text, image, told or (positive.instruction or "") * alike))
    return tuple(negative for negative in found if negative is not None)


def _absolute(side: Side) -> str:
    return str(Path(side.image).absolute()) if side.image else ""
