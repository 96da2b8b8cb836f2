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

from embedder.errors import EmbedderError
from indexer.collections.schema import KEYWORDS
from indexer.errors import QueryError
from indexer.types import Filters, Part

if TYPE_CHECKING:
    from PIL.Image import Image
    from qdrant_client import models

PREFIX_PATTERN = re.compile(  # a time such as 12:30 is not a weight
    r"(?P<sign>[+-])?(?:(?P<weight>\d+(?:\.\d+)?|\.\d+):(?!\d))?(?P<rest>.+)", re.DOTALL
)
EMPTY_PART_PATTERN = re.compile(r"(?:[+-]|[+-]?(?:\d+(?:\.\d+)?|\.\d+):)\s*")
IMAGE_NAME_PATTERN = re.compile(
    r"\.(jpe?g|png|webp|gif|avif|hei[cf]|tiff?|bmp|jp2|ppm|tga|ico)$", re.IGNORECASE
)
DEFAULT_IMAGE_SIDE = 512  # pixels on the shorter side, where the model is not known

NUMERIC_FIELDS = {"year", "width", "height", "bytes", "frames", "passage", "latitude", "longitude"}
FIELD_ALIASES = {"language": "languages", "tag": "tags", "path": "paths"}
NUMBER_PATTERN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
COMPARISON_PATTERN = re.compile(rf"(?P<sign>[<>]=?)(?P<number>{NUMBER_PATTERN.pattern})")
COMPARISON_OPERATORS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


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
    path = Path(rest).expanduser()
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


def build_store_filter(filters: Filters) -> models.Filter | None:
    """A filter that requires every key, each with any of its values; raises `QueryError`."""
    from qdrant_client import models

    if not filters:
        return None
    required: list[models.Condition] = []
    for name, values in filters.items():
        key = FIELD_ALIASES.get(name, name)
        if key not in KEYWORDS and key not in NUMERIC_FIELDS and not key.startswith("meta."):
            key = f"meta.{key}"  # a column of the user's own
        accepted = [condition for value in values for condition in _build_conditions(key, value)]
        required.append(models.Filter(should=accepted))
    return models.Filter(must=required)


def _build_conditions(key: str, value: str) -> list[models.Condition]:
    """The alternatives that `value` stands for: the value itself, and the numbers in a range."""
    from qdrant_client import models

    numbers = None if key in KEYWORDS else _parse_range(value)
    if key in NUMERIC_FIELDS and numbers is None:
        raise QueryError(
            f"{key} is a number; write {key}=2021, {key}=2019..2022 or {key}=>=2019, not {value!r}"
        )
    conditions: list[models.Condition] = []
    if numbers is not None:
        conditions.append(models.FieldCondition(key=key, range=models.Range(**numbers)))
    if key not in NUMERIC_FIELDS:
        match = models.MatchValue(value=value)
        conditions.append(models.FieldCondition(key=key, match=match))
    return conditions


def _parse_range(value: str) -> dict[str, float] | None:
    """Parse `2021`, `2019..2022`, `2019..`, `>=2019`; None for what is not a range of numbers."""
    if match := COMPARISON_PATTERN.fullmatch(value):
        return {COMPARISON_OPERATORS[match["sign"]]: float(match["number"])}
    low, dots, high = value.partition("..")
    ends = {"gte": low, "lte": high if dots else low}
    if not all(NUMBER_PATTERN.fullmatch(end) or (dots and not end) for end in ends.values()):
        return None
    return {name: float(end) for name, end in ends.items() if end} or None
