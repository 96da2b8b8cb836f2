"""Rows of pairs in named columns: `query, positive, negative`, or `image, caption`.

The names `anchor`, and `sent0, sent1, hard_neg` of the triplets that E5-V is trained on
(https://arxiv.org/abs/2407.12580, from SimCSE's) work as well. Every function raises `DataError`
for an invalid cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isnan
from pathlib import Path
from typing import Any

from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from indexer.captions.manifest import FILE_COLUMNS
from indexer.captions.normalize import parse_language_tag
from indexer.captions.sidecar import CAPTION_KEYS, parse_caption_key

Row = Mapping[str, Any]

QUERY_COLUMNS = ("query", "anchor", "sent0")
POSITIVE_COLUMNS = ("positive", "sent1")
NEGATIVE_COLUMN = re.compile(r"(negatives?|hard_neg)(_\d+)?(?P<image>_image(_\d+)?)?")
LANGUAGE_COLUMNS = ("language", "lang")
EXPECTED_COLUMNS = (
    "query, positive and optionally negative (or query_image, positive_image, negative_image); or "
    "image and caption; or MMEB's qry, qry_image_path, pos_text, pos_image_path"
)


def parse_row(row: Row, root: Path, dataset: str = "") -> Iterator[Pair]:
    """Yield the pair of a row, or one pair for each caption of a row of captions.

    Relative image paths start from `root`.
    """
    cells = {name.strip().lower(): value for name, value in row.items() if name}
    if not any(f"{name}{tail}" in cells for name in QUERY_COLUMNS for tail in ("", "_image")):
        yield from _iter_caption_pairs(cells, root, dataset)
        return
    query = _parse_side(cells, QUERY_COLUMNS, root, "instruction")
    positive = _parse_side(cells, POSITIVE_COLUMNS, root, "positive_instruction")
    yield Pair(
        require_side(query, "query"),
        require_side(positive, "positive"),
        tuple(_iter_negatives(cells, root, get_text(cells, "positive_instruction"))),
        language=get_language(cells, *LANGUAGE_COLUMNS),
        item=get_text(cells, "item"),
        dataset=get_text(cells, "dataset") or dataset,
    )


def _parse_side(cells: Row, names: tuple[str, ...], root: Path, instruction: str) -> Side | None:
    name = next((n for n in names if n in cells or f"{n}_image" in cells), names[0])
    image = resolve_image_path(get_text(cells, f"{name}_image"), root)
    return make_side(get_text(cells, name), image, get_text(cells, instruction))


def _iter_negatives(cells: Row, root: Path, instruction: str) -> Iterator[Side]:
    """Yield the negatives; `negative_2_image` is the image of `negative_2`."""
    for name in cells:
        match = NEGATIVE_COLUMN.fullmatch(name)
        if match is None or (match["image"] and name.replace("_image", "", 1) in cells):
            continue
        images = get_texts(cells, name if match["image"] else f"{name}_image")
        texts = [] if match["image"] else get_texts(cells, name)
        for index in range(max(len(texts), len(images))):
            image = resolve_image_path(images[index], root) if index < len(images) else None
            negative = make_side(texts[index] if index < len(texts) else "", image, instruction)
            if negative is not None:
                yield negative


def _iter_caption_pairs(cells: Row, root: Path, dataset: str) -> Iterator[Pair]:
    column = next((name for name in FILE_COLUMNS if name in cells), None)
    keys = {name: parse_caption_key(name) for name in cells}
    captions = [(name, tag) for name, (key, tag) in keys.items() if key in CAPTION_KEYS]
    if column is None or not captions:
        found_columns = ", ".join(cells) or "none"
        raise DataError(
            f"its columns are not those of pairs ({found_columns}); name them {EXPECTED_COLUMNS}"
        )
    image = resolve_image_path(get_text(cells, column), root)
    target = require_side(make_side("", image), f"column {column}")
    language, item = get_language(cells, *LANGUAGE_COLUMNS), get_text(cells, "item")
    dataset_name = get_text(cells, "dataset") or dataset
    for name, tag in captions:
        for text in get_texts(cells, name):
            if text.strip():
                yield Pair(
                    Side(text.strip()),
                    target,
                    language=tag or language,
                    item=item,
                    dataset=dataset_name,
                )


def get_text(row: Row, column: str) -> str:
    """Return the text of a column, "" if it is empty."""
    value = row.get(column)
    if value is None or (isinstance(value, float) and isnan(value)):  # an empty cell
        return ""
    if isinstance(value, Mapping | bytes):
        raise DataError(
            f"{column} holds image data instead of a path; save the images as files and write "
            "their paths"
        )
    if isinstance(value, list | tuple | bool):
        raise DataError(f"{column} must be a text, not {value!r:.40}")
    return str(value)


def get_texts(row: Row, column: str) -> list[str]:
    """Return the texts of a column that holds one or several."""
    value = row.get(column)
    if not isinstance(value, list | tuple):
        text = get_text(row, column)
        return [text] if text else []
    return [get_text({column: one}, column) for one in value]


def get_language(row: Row, *columns: str) -> str | None:
    """Return the first language in the columns, as a BCP 47 tag."""
    for column in columns:
        text = get_text(row, column).strip()
        if text:
            tag = parse_language_tag(text)
            if tag is None:
                raise DataError(
                    f"{text!r} in {column} is not a language tag; use one such as de, ja or zh-hans"
                )
            return tag
    return None


def resolve_image_path(path: str, root: Path) -> str | None:
    """Return the absolute path of an image, starting from `root`; None if `path` is empty."""
    return str(root / Path(path.strip()).expanduser()) if path.strip() else None


def make_side(text: str, image: str | None, instruction: str = "") -> Side | None:
    """Make a side; None if there is neither text nor an image."""
    content = text if text.strip() else None
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{text!r:.60} is not UTF-8; save the file as UTF-8") from None
    return Side(content, image, instruction.strip() or None) if content or image else None


def require_side(side: Side | None, name: str) -> Side:
    """Return `side`, or raise `DataError` if it is None."""
    if side is None:
        raise DataError(f"the {name} has neither text nor an image")
    return side
