"""What stands in the cells of a row of pairs: texts, paths of pictures, a language."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from finetune.data.pairs import Side
from finetune.errors import DataError
from indexer.languages import language_tag

Row = Mapping[str, Any]


def text_of(row: Row, column: str) -> str:
    """What stands in a column, "" for none; raises `DataError` where that is no text."""
    value = row.get(column)
    if value is None or (isinstance(value, float) and isnan(value)):  # an empty cell
        return ""
    if isinstance(value, Mapping | bytes):
        raise DataError(
            f"{column} holds a picture itself, where the path of one belongs: save the pictures as "
            "files, and write their paths"
        )
    if isinstance(value, list | tuple | bool):
        raise DataError(f"{column} is {value!r:.40}, where a text belongs")
    return str(value)


def texts_of(row: Row, column: str) -> list[str]:
    """The texts of a column that holds one or several; raises `DataError`."""
    value = row.get(column)
    if not isinstance(value, list | tuple):
        text = text_of(row, column)
        return [text] if text else []
    return [text_of({column: one}, column) for one in value]


def language_of(row: Row, *columns: str) -> str | None:
    """The first language that the columns name; raises `DataError` for what is no BCP 47 tag."""
    for column in columns:
        said = text_of(row, column).strip()
        if said:
            tag = language_tag(said)
            if tag is None:
                raise DataError(
                    f"{said!r} in {column} is no language; write a tag such as de, ja or zh-hans"
                )
            return tag
    return None


def picture(path: str, root: Path) -> str | None:
    """The absolute path of a picture, a relative one told from `root`; None where none is named."""
    return str(root / Path(path.strip()).expanduser()) if path.strip() else None


def side(text: str, image: str | None, instruction: str = "") -> Side | None:
    """A side, or None where there are neither words nor a picture; raises `DataError`."""
    words = text if text.strip() else None
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{text!r:.60} is not in UTF-8; save the file in it") from None
    return Side(words, image, instruction.strip() or None) if words or image else None


def required(side: Side | None, name: str) -> Side:
    """The side, or a `DataError` that there is none."""
    if side is None:
        raise DataError(f"the {name} holds neither words nor a picture")
    return side
