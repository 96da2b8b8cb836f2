"""The syntax of queries: `beach -people 2:sunset photo.jpg id:…`, and of filters: `key=value`.

One argument is one part. It may begin with a sign (`+`, `-`) and a weight with a colon (`2:`,
`0.5:`). The rest is a point (`id:UUID`), an image (the path of an existing file), or text. A
leading space or backslash makes everything after it text: `\\-40 degrees`.
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

PREFIX_PATTERN = re.compile(  # a time such as 12:30 is not a weight
    r"(?P<sign>[+-])?(?:(?P<weight>\d+(?:\.\d+)?|\.\d+):(?!\d))?(?P<rest>.+)", re.DOTALL
)
EMPTY_PART_PATTERN = re.compile(r"(?:[+-]|[+-]?(?:\d+(?:\.\d+)?|\.\d+):)\s*")
IMAGE_NAME_PATTERN = re.compile(
    r"\.(jpe?g|png|webp|gif|avif|hei[cf]|tiff?|bmp|jp2|ppm|tga|ico)$", re.IGNORECASE
)
DEFAULT_IMAGE_SIDE = 512  # pixels on the shorter side, where the model is not known


def parse_parts(arguments: Sequence[str], side: int = DEFAULT_IMAGE_SIDE) -> tuple[Part, ...]:
    """Parse the parts of a query.

    Images are reduced to about `side` pixels on the shorter side. Raises `QueryError`.
    """
    return tuple(parse_part(argument, side) for argument in arguments if argument.strip())


def parse_part(argument: str, side: int = DEFAULT_IMAGE_SIDE) -> Part:
    if argument[0] in " \\":
        return Part(text=argument[1:].strip() or argument, label=argument[1:].strip())
    match = PREFIX_PATTERN.fullmatch(argument)
    if not match or EMPTY_PART_PATTERN.fullmatch(argument):
        raise QueryError(f"{argument!r} has a sign or a weight but no content")
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
            f"there is no image {rest!r}; to search for this text, put a backslash in front of it"
        )
    return Part(text=rest, weight=weight, label=rest)


def read_query_image(path: Path, side: int = DEFAULT_IMAGE_SIDE) -> Image:
    """Read the image at `path`, upright RGB; raises `QueryError` where it cannot be read."""
    from embedder.images.decode import DecodeLimits, decode_image, read_file
    from indexer.skip_reasons import UnusableFileError

    try:
        limits = DecodeLimits()
        return decode_image(read_file(str(path), limits), side=side, limits=limits).image
    except UnusableFileError as error:
        raise QueryError(f"{path} cannot be searched with: {error.detail}") from error


def _is_image_file(path: Path) -> bool:
    try:
        return bool(IMAGE_NAME_PATTERN.search(path.name)) and path.is_file()
    except (OSError, ValueError):  # text that is too long for a name, or has a NUL
        return False


def parse_filters(arguments: Sequence[str]) -> Filters:
    """Parse filters: `key=value`, `year=2019..2022`, `width=>=800`.

    `key=a,b`, or the same key twice, accepts any of the values. Raises `QueryError` for an argument
    without a key or a value.
    """
    filters: dict[str, tuple[str, ...]] = {}
    for argument in arguments:
        key, equals, values = argument.partition("=")
        accepted = tuple(value.strip() for value in values.split(",") if value.strip())
        if not (key.strip() and equals and accepted):
            raise QueryError(f"{argument!r} is not a filter; write key=value, as in kind=image")
        filters[key.strip()] = filters.get(key.strip(), ()) + accepted
    return filters
