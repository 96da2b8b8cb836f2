"""The syntax of queries: `beach -people 2:sunset photo.jpg id:…`.

One argument is one part. It may begin with a sign (`+`, `-`) and a weight with a colon (`2:`,
`0.5:`). The rest is a point (`id:UUID`), an image (the path of an existing file), or text. A
leading space or backslash makes everything after it text: `\\-40 degrees`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.errors import EmbedderError
from indexer.errors import QueryError
from indexer.types import Part

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
    rest = match["rest"].strip()
    if rest.startswith("id:"):
        return Part(id=rest[3:].strip(), weight=weight, label=rest)
    path = Path(os.path.expanduser(rest))
    if _is_image_file(path):
        return Part(image=read_query_image(path, side), weight=weight, label=path.name)
    if IMAGE_NAME_PATTERN.search(rest) and not re.search(r"\s", rest):
        raise QueryError(
            f"there is no image {rest!r}; to search for this text, put a backslash in front of it"
        )
    return Part(text=rest, weight=weight, label=rest)


def read_query_image(source: str | Path | Image, side: int = DEFAULT_IMAGE_SIDE) -> Image:
    """Return a PIL image, or the image at a path, as upright RGB; raises `QueryError`."""
    from embedder.encoding import open_image

    name = str(source) if isinstance(source, str | Path) else "the image"
    try:
        return open_image(source, side)
    except EmbedderError as error:
        raise QueryError(f"{name} cannot be searched with: {error}") from error


def _is_image_file(path: Path) -> bool:
    try:
        return bool(IMAGE_NAME_PATTERN.search(path.name)) and path.is_file()
    except (OSError, ValueError):  # text that is too long for a name, or has a NUL
        return False
