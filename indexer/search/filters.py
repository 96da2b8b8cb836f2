"""Turns the filters of a query into the store's filter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from indexer.errors import QueryError
from indexer.types import Filters

if TYPE_CHECKING:
    from qdrant_client import models

KEYWORD_FIELDS = {
    "kind",
    "format",
    "folder",
    "languages",
    "tags",
    "paths",
    "content",
    "name",
    "camera",
}
NUMERIC_FIELDS = {"year", "width", "height", "bytes", "frames", "passage", "latitude", "longitude"}
FIELD_ALIASES = {"language": "languages", "tag": "tags", "path": "paths"}
RANGE_PATTERN = re.compile(r"(?P<low>-?[\d.]*\d)?\.\.(?P<high>-?[\d.]*\d)?")
COMPARISON_PATTERN = re.compile(r"(?P<sign>[<>]=?)(?P<number>-?\d+(?:\.\d+)?)")
COMPARISON_OPERATORS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def build_store_filter(filters: Filters) -> models.Filter | None:
    """A filter that requires every key, each with any of its values; raises `QueryError`."""
    from qdrant_client import models

    if not filters:
        return None
    return models.Filter(must=[_match_any(key, values) for key, values in filters.items()])


def resolve_payload_key(key: str) -> str:
    """The payload key of a filter; an unknown one is a column of the user's own, under `meta.`."""
    key = FIELD_ALIASES.get(key, key)
    return (
        key if key in KEYWORD_FIELDS | NUMERIC_FIELDS or key.startswith("meta.") else f"meta.{key}"
    )


def _match_any(key: str, values: tuple[str, ...]) -> models.Filter:
    from qdrant_client import models

    name = resolve_payload_key(key)
    return models.Filter(should=[c for value in values for c in _build_conditions(name, value)])


def _build_conditions(key: str, value: str) -> list[models.Condition]:
    from qdrant_client import models

    span = _parse_range(value)
    if span and key not in KEYWORD_FIELDS:
        return [models.FieldCondition(key=key, range=models.Range(**span))]
    if key in NUMERIC_FIELDS:
        number = _parse_number(key, value)
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


def _parse_range(value: str) -> dict[str, float] | None:
    if match := COMPARISON_PATTERN.fullmatch(value):
        return {COMPARISON_OPERATORS[match["sign"]]: float(match["number"])}
    match = RANGE_PATTERN.fullmatch(value)
    if not match or not (match["low"] or match["high"]):
        return None
    ends = {"gte": match["low"], "lte": match["high"]}
    return {name: float(end) for name, end in ends.items() if end}


def _parse_number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise QueryError(
            f"{key} is a number; write {key}=2021, {key}=2019..2022 or {key}=>=2019, not {value!r}"
        ) from None
