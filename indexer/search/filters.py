"""Filters: their syntax, `key=value`, and the conditions of the store that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from indexer.collections.schema import KEYWORDS
from indexer.errors import QueryError
from indexer.types import Filters

if TYPE_CHECKING:
    from qdrant_client import models

NUMERIC_FIELDS = {"year", "width", "height", "bytes", "frames", "passage", "latitude", "longitude"}
FIELD_ALIASES = {"language": "languages", "tag": "tags", "path": "paths"}
NUMBER_PATTERN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
COMPARISON_PATTERN = re.compile(rf"(?P<sign>[<>]=?)(?P<number>{NUMBER_PATTERN.pattern})")
COMPARISON_OPERATORS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


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
