"""What stands in the cells of a row of pairs: texts, paths of pictures, a language."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from finetune.data.pairs import Side
from finetune.errors import DataError
from indexer.captions.normalize import parse_language_tag

Row = Mapping[str, Any]


def get_text(row: Row, column: str) -> str:
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


def get_texts(row: Row, column: str) -> list[str]:
    """The texts of a column that holds one or several; raises `DataError`."""
    value = row.get(column)
    if not isinstance(value, list | tuple):
        text = get_text(row, column)
        return [text] if text else []
    return [get_text({column: one}, column) for one in value]


def get_language(row: Row, *columns: str) -> str | None:
    """The first language that the columns name; raises `DataError` for what is no BCP 47 tag."""
    for column in columns:
        text = get_text(row, column).strip()
        if text:
            tag = parse_language_tag(text)
            if tag is None:
                raise DataError(
                    f"{text!r} in {column} is no language; write a tag such as de, ja or zh-hans"
                )
            return tag
    return None


def resolve_image_path(path: str, root: Path) -> str | None:
    """The absolute path of a picture, a relative one told from `root`; None where none is named."""
    return str(root / Path(path.strip()).expanduser()) if path.strip() else None


def make_side(text: str, image: str | None, instruction: str = "") -> Side | None:
    """A side, or None where there are neither words nor a picture; raises `DataError`."""
    words = text if text.strip() else None
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{text!r:.60} is not in UTF-8; save the file in it") from None
    return Side(words, image, instruction.strip() or None) if words or image else None


def require_side(side: Side | None, name: str) -> Side:
    """The side, or a `DataError` that there is none."""
    if side is None:
        raise DataError(f"the {name} holds neither words nor a picture")
    return side
