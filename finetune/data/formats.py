"""Formats of rows: pairs in named columns, captions of images, and MMEB's, which is also our own.

Named columns are `query, positive, negative` (or `anchor`, or `sent0, sent1, hard_neg` as in the
triplets that E5-V is trained on, https://arxiv.org/abs/2407.12580), each with an `_image`; a table
of captions has `image, caption`.

Our own files have the columns of MMEB (`finetune.data.mmeb_rows`), and `qry_instruction`,
`pos_instruction`, `qry_prompt`, `pos_prompt`, `neg_prompt`, `language`, `item` and `dataset`. ""
means none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from finetune.data.cells import Row, clean_text, get_text, get_texts, make_side, require_side
from finetune.data.mmeb_rows import parse_mmeb_row
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from indexer.captions.language import parse_language_tag
from indexer.captions.manifest import FILE_COLUMNS, LANGUAGE_COLUMNS
from indexer.captions.sidecar import CAPTION_KEYS, parse_caption_key

QUERY_COLUMNS = ("query", "anchor", "sent0")
POSITIVE_COLUMNS = ("positive", "sent1")
NEGATIVE_COLUMN = re.compile(r"(negatives?|hard_neg)(_\d+)?(?P<image>_image(_\d+)?)?")
EXPECTED_COLUMNS = (
    "query, positive and optionally negative (or query_image, positive_image, negative_image); or "
    "image and caption; or MMEB's qry, qry_image_path, pos_text, pos_image_path"
)
MMEB_COLUMNS = {"qry", "qry_image_path", "pos_text", "pos_image_path"}


def parse_row(row: Row, root: Path, dataset: str = "") -> Iterator[Pair]:
    """Yield the pair of a row, or one pair for each caption of a row of captions.

    Args:
        row: The row; upper case in its columns' names does not matter.
        root: Folder that relative image paths start from.
        dataset: Name of the dataset, if the row has none.

    Raises:
        DataError: A cell is invalid, or the columns are unknown.
    """
    cells = {name.strip().lower(): value for name, value in row.items() if name}
    common: dict[str, Any] = {
        "language": _get_language(cells),
        "item": get_text(cells, "item"),
        "dataset": get_text(cells, "dataset") or dataset,
    }
    if cells.keys() & MMEB_COLUMNS:
        if "dataset" in cells:  # our own files leave it empty where a pair has none
            common["dataset"] = get_text(cells, "dataset")
        yield Pair(*parse_mmeb_row(cells, root), **common)
    elif any(f"{name}{tail}" in cells for name in QUERY_COLUMNS for tail in ("", "_image")):
        yield Pair(
            _parse_named_side(cells, QUERY_COLUMNS, "instruction", root),
            _parse_named_side(cells, POSITIVE_COLUMNS, "positive_instruction", root),
            tuple(_iter_negatives(cells, root)),
            **common,
        )
    else:
        yield from _iter_caption_pairs(cells, root, common)


def to_row(pair: Pair) -> dict[str, Any]:
    """Convert a pair to a row of our own files, with absolute image paths."""
    prompts = {
        "qry_prompt": pair.query.prompt or "",
        "pos_prompt": pair.positive.prompt or "",
        "neg_prompt": [side.prompt or "" for side in pair.negatives],
    }
    has_prompts = any((pair.query.prompt, pair.positive.prompt, *prompts["neg_prompt"]))
    return {
        "qry": pair.query.text or "",
        "qry_image_path": _absolute_path(pair.query),
        "qry_instruction": pair.query.instruction or "",
        "pos_text": pair.positive.text or "",
        "pos_image_path": _absolute_path(pair.positive),
        "pos_instruction": pair.positive.instruction or "",
        "neg_text": [side.text or "" for side in pair.negatives],
        "neg_image_path": [_absolute_path(side) for side in pair.negatives],
        **(prompts if has_prompts else {}),
        "language": pair.language or "",
        "item": pair.item,
        "dataset": pair.dataset,
    }


def _parse_named_side(cells: Row, names: tuple[str, ...], instruction: str, root: Path) -> Side:
    name = next((n for n in names if n in cells or f"{n}_image" in cells), names[0])
    text, image = get_text(cells, name), get_text(cells, f"{name}_image")
    return require_side(make_side(text, image, get_text(cells, instruction), root), names[0])


def _iter_negatives(cells: Row, root: Path) -> Iterator[Side]:
    """Yield the negatives; `negative_2_image` is the image of `negative_2`."""
    instruction = get_text(cells, "positive_instruction")
    for name in cells:
        match = NEGATIVE_COLUMN.fullmatch(name)
        if match is None or (match["image"] and name.replace("_image", "", 1) in cells):
            continue
        images = get_texts(cells, name if match["image"] else f"{name}_image")
        texts = [] if match["image"] else get_texts(cells, name)
        for text, image in zip_longest(texts, images, fillvalue=""):
            negative = make_side(text, image, instruction, root)
            if negative is not None:
                yield negative


def _iter_caption_pairs(cells: Row, root: Path, common: dict[str, Any]) -> Iterator[Pair]:
    column = next((name for name in FILE_COLUMNS if name in cells), None)
    keys = {name: parse_caption_key(name) for name in cells}
    captions = [(name, tag) for name, (key, tag) in keys.items() if key in CAPTION_KEYS]
    if column is None or not captions:
        found_columns = ", ".join(cells) or "none"
        raise DataError(
            f"its columns are not those of pairs ({found_columns}); name them {EXPECTED_COLUMNS}"
        )
    image = require_side(make_side("", get_text(cells, column), "", root), f"column {column}")
    for name, tag in captions:
        for text in filter(None, map(str.strip, get_texts(cells, name))):
            yield Pair(
                Side(clean_text(text)), image, **{**common, "language": tag or common["language"]}
            )


def _get_language(row: Row) -> str | None:
    for column in LANGUAGE_COLUMNS:
        text = get_text(row, column).strip()
        if text:
            tag = parse_language_tag(text)
            if tag is None:
                raise DataError(
                    f"{text!r} in {column} is not a language tag; use one such as de, ja or zh-hans"
                )
            return tag
    return None


def _absolute_path(side: Side) -> str:
    return str(Path(side.image).absolute()) if side.image else ""
