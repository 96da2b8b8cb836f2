"""What the user narrows by -> the store's filter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.errors import QueryError
from indexer.types import Where

if TYPE_CHECKING:
    from qdrant_client import models

WORDS = {"kind", "format", "folder", "languages", "tags", "paths", "content", "name", "camera"}
NUMBERS = {"year", "width", "height", "bytes", "frames", "passage", "latitude", "longitude"}
ALIASES = {"language": "languages", "tag": "tags", "path": "paths"}
SPAN = re.compile(r"(?P<low>-?[\d.]*\d)?\.\.(?P<high>-?[\d.]*\d)?")
BOUND = re.compile(r"(?P<sign>[<>]=?)(?P<number>-?\d+(?:\.\d+)?)")
SIGNS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def store_filter(where: Where) -> models.Filter | None:
    """All keys must hold, each by any of its values; raises `QueryError`."""
    from qdrant_client import models

    if not where:
        return None
    return models.Filter(must=[_any_of(key, values) for key, values in where.items()])


def payload_key(key: str) -> str:
    """Where `key` stands in a payload; what is no key of ours came with the user's own columns."""
    key = ALIASES.get(key, key)
    return key if key in WORDS | NUMBERS or key.startswith("meta.") else f"meta.{key}"


def _any_of(key: str, values: tuple[str, ...]) -> models.Filter:
    from qdrant_client import models

    name = payload_key(key)
    return models.Filter(should=[c for value in values for c in _conditions(name, value)])


def _conditions(key: str, value: str) -> list[models.Condition]:
    from qdrant_client import models

    span = _range(value)
    if span and key not in WORDS:
        return [models.FieldCondition(key=key, range=models.Range(**span))]
    if key in NUMBERS:
        number = _number(key, value)
        return [models.FieldCondition(key=key, range=models.Range(gte=number, lte=number))]
    conditions: list[models.Condition] = [
        models.FieldCondition(key=key, match=models.MatchValue(value=value))
    ]
    if key.startswith("meta.") and re.fullmatch(r"-?\d+(\.\d+)?", value):
        number = float(value)
        conditions.append(
            models.FieldCondition(key=key, range=models.Range(gte=number, lte=number))
        )
    return conditions


def _range(value: str) -> dict[str, float] | None:
    if match := BOUND.fullmatch(value):
        return {SIGNS[match["sign"]]: float(match["number"])}
    match = SPAN.fullmatch(value)
    if not match or not (match["low"] or match["high"]):
        return None
    ends = {"gte": match["low"], "lte": match["high"]}
    return {name: float(end) for name, end in ends.items() if end}


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise QueryError(
            f"{key} is a number; write {key}=2021, {key}=2019..2022 or {key}=>=2019, not {value!r}"
        ) from None
