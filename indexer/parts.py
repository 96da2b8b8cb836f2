"""Queries as people type them: `beach -people 2:sunset photo.jpg id:…`, and `key=value` filters.

One argument is one part. In front of it may stand a sign (`+`, `-`) and a weight with a colon
(`2:`, `0.5:`). What follows is a point (`id:UUID`), a picture (the path of an existing file), or
words. A space or a backslash in front keeps the rest as it is: `\\-40 degrees`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import QueryError
from indexer.types import Part, Where

if TYPE_CHECKING:
    from PIL.Image import Image

FRONT = re.compile(  # a time such as 12:30 is no weight
    r"(?P<sign>[+-])?(?:(?P<weight>\d+(?:\.\d+)?|\.\d+):(?!\d))?(?P<rest>.+)", re.DOTALL
)
NOTHING = re.compile(r"(?:[+-]|[+-]?(?:\d+(?:\.\d+)?|\.\d+):)\s*")  # a sign or a weight alone
PICTURES = re.compile(
    r"\.(jpe?g|png|webp|gif|avif|hei[cf]|tiff?|bmp|jp2|ppm|tga|ico)$", re.IGNORECASE
)
SIDE = 512  # of a query picture's shorter side, where the model's own is not known


def parse_parts(arguments: Sequence[str], side: int = SIDE) -> tuple[Part, ...]:
    """The parts of a query, pictures with about `side` pixels on the shorter side; raises
    `QueryError` for what cannot be one."""
    return tuple(parse_part(argument, side) for argument in arguments if argument.strip())


def parse_part(argument: str, side: int = SIDE) -> Part:
    if argument[0] in " \\":
        return Part(text=argument[1:].strip() or argument, label=argument[1:].strip())
    match = FRONT.fullmatch(argument)
    if not match or NOTHING.fullmatch(argument):
        raise QueryError(f"{argument!r} has a sign or a weight and nothing behind it")
    weight = float(match["weight"] or 1) * (-1 if match["sign"] == "-" else 1)
    return _part(match["rest"].strip(), weight, side)


def _part(rest: str, weight: float, side: int) -> Part:
    if rest.startswith("id:"):
        return Part(id=rest[3:].strip(), weight=weight, label=rest)
    path = Path(rest).expanduser()
    if _is_file(path):
        return Part(image=read_picture(path, side), weight=weight, label=path.name)
    if PICTURES.search(rest) and not re.search(r"\s", rest):
        raise QueryError(
            f"there is no picture {rest!r}; to search for these words, put a backslash in front"
        )
    return Part(text=rest, weight=weight, label=rest)


def read_picture(path: Path, side: int = SIDE) -> Image:
    """The picture at `path`, upright RGB; raises `QueryError` where it cannot be read."""
    from indexer.decode import Limits, decode, read
    from indexer.skips import Undecodable

    try:
        return decode(read(str(path), Limits()), side=side, limits=Limits()).image
    except Undecodable as error:
        raise QueryError(f"{path} cannot be searched with: {error.detail}") from error


def _is_file(path: Path) -> bool:
    try:
        return bool(PICTURES.search(path.name)) and path.is_file()
    except (OSError, ValueError):  # a text too long for a name, or with a NUL
        return False


def parse_where(arguments: Sequence[str]) -> Where:
    """`key=value`, `key=a,b` or the key again for any of several; `year=2019..2022`, `width=>=800`.

    Raises `QueryError` for an argument without a key or a value.
    """
    found: dict[str, tuple[str, ...]] = {}
    for argument in arguments:
        key, equals, values = argument.partition("=")
        wanted = tuple(value.strip() for value in values.split(",") if value.strip())
        if not (key.strip() and equals and wanted):
            raise QueryError(f"{argument!r} is no filter; write key=value, as in kind=image")
        found[key.strip()] = found.get(key.strip(), ()) + wanted
    return found
