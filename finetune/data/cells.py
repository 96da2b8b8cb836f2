"""Reads the cells of a row: texts, lists of texts, and sides of pairs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from finetune.data.pairs import Side
from finetune.errors import DataError

Row = Mapping[str, Any]
UNDECODED_BYTES = re.compile("[\udc80-\udcff]")  # as `surrogateescape` writes them
SURROGATES = re.compile("[\ud800-\udfff]")


def get_text(row: Row, column: str) -> str:
    """Return the text of a column, "" if it is empty; raises `DataError` for what is no text."""
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


def clean_text(text: str) -> str:
    """Return `text` without halves of surrogate pairs, which JSON may hold; raises `DataError` for
    bytes that are not UTF-8."""
    if UNDECODED_BYTES.search(text):
        raise DataError(f"{text!r:.60} is not UTF-8; save the file as UTF-8")
    return SURROGATES.sub("\ufffd", text)


def make_side(text: str, image: str, instruction: str, root: Path) -> Side | None:
    """Make a side; None if there is neither text nor an image."""
    text, instruction = clean_text(text), clean_text(instruction)
    path = image.strip()
    if not (path or text.strip()):
        return None
    return Side(
        text if text.strip() else None,
        str(root / Path(os.path.expanduser(path))) if path else None,
        instruction.strip() or None,
    )


def require_side(side: Side | None, name: str) -> Side:
    """Return the side called `name`; raises `DataError` if there is none."""
    if side is None:
        raise DataError(f"the {name} has neither text nor an image")
    return side
