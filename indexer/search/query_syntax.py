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
from indexer.types import Filters, Part

if TYPE_CHECKING:
    from PIL.Image import Image

PREFIX_PATTERN = re.compile(  # a time such as 12:30 is no weight
    r"(?P<sign>[+-])?(?:(?P<weight>\d+(?:\.\d+)?|\.\d+):(?!\d))?(?P<rest>.+)", re.DOTALL
)
EMPTY_PART_PATTERN = re.compile(
    r"(?:[+-]|[+-]?(?:\d+(?:\.\d+)?|\.\d+):)\s*"
)  # a sign or a weight alone
IMAGE_NAME_PATTERN = re.compile(
    r"\.(jpe?g|png|webp|gif|avif|hei[cf]|tiff?|bmp|jp2|ppm|tga|ico)$", re.IGNORECASE
)
DEFAULT_IMAGE_SIDE = 512  # of a query picture's shorter side, where the model's own is not known


def parse_parts(arguments: Sequence[str], side: int = DEFAULT_IMAGE_SIDE) -> tuple[Part, ...]:
    """The parts of a query, pictures with about `side` pixels on the shorter side; raises
    `QueryError` for what cannot be one."""
    return tuple(parse_part(argument, side) for argument in arguments if argument.strip())


def parse_part(argument: str, side: int = DEFAULT_IMAGE_SIDE) -> Part:
    if argument[0] in " \\":
        return Part(text=argument[1:].strip() or argument, label=argument[1:].strip())
    match = PREFIX_PATTERN.fullmatch(argument)
    if not match or EMPTY_PART_PATTERN.fullmatch(argument):
        raise QueryError(f"{argument!r} has a sign or a weight and nothing behind it")
    weight = float(match["weight"] or 1) * (-1 if match["sign"] == "-" else 1)
    return _make_part(match["rest"].strip(), weight, side)


def _make_part(rest: str, weight: float, side: int) -> Part:
    if rest.startswith("id:"):
        return Part(id=rest[3:].strip(), weight=weight, label=rest)
    path = Path(rest).expanduser()
    if _is_image_file(path):
        return Part(image=read_query_image(path, side), weight=weight, label=path.name)
    if IMAGE_NAME_PATTERN.search(rest) and not re.search(r"\s", rest):
        raise QueryError(
            f"there is no picture {rest!r}; to search for these words, put a backslash in front"
        )
    return Part(text=rest, weight=weight, label=rest)


def read_query_image(path: Path, side: int = DEFAULT_IMAGE_SIDE) -> Image:
    """The picture at `path`, upright RGB; raises `QueryError` where it cannot be read."""
    from embedder.images.decode import DecodeLimits, decode_image, read_file
    from indexer.skip_reasons import UnusableFileError

    try:
        return decode_image(
            read_file(str(path), DecodeLimits()), side=side, limits=DecodeLimits()
        ).image
    except UnusableFileError as error:
        raise QueryError(f"{path} cannot be searched with: {error.detail}") from error


def _is_image_file(path: Path) -> bool:
    try:
        return bool(IMAGE_NAME_PATTERN.search(path.name)) and path.is_file()
    except (OSError, ValueError):  # a text too long for a name, or with a NUL
        return False


def parse_filters(arguments: Sequence[str]) -> Filters:
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
