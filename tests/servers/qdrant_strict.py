"""What a Qdrant server refuses and its local engine allows: filters without an index, limits.

After lib/collection/src/operations/verification of qdrant/qdrant, 1.18-1.20.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qdrant_client import models


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


Indexes = Mapping[str, models.PayloadIndexInfo]
MATCHING = {"keyword", "integer", "bool", "uuid"}  # what a facet can count
RANGES = {"integer", "float", "datetime"}  # what can be sorted by


def check_limit(value: float | None, limit: float | None, name: str) -> None:
    if value is not None and limit is not None and value > limit:
        raise Refused(
            400,
            f'Bad request: Limit exceeded {value:.10g} > {limit:.10g} for "{name}". '
            f'Help: Reduce the "{name}" parameter to or below {limit:.10g}.',
        )


def check_exact(exact: bool | None, allowed: bool | None) -> None:
    if exact and allowed is False:
        raise Refused(400, "Bad request: Exact search disabled!. Help: Set exact=false.")


def check_filter(where: models.Filter | None, indexes: Indexes) -> None:
    """Every key of the filter has an index that can answer."""
    for key, kinds in conditions(where):
        index = indexes.get(key)
        if kinds and (index is None or index.data_type.value not in kinds):
            raise Refused(
                400,
                f'Bad request: Index required but not found for "{key}" of one of the following '
                f"types: [{', '.join(sorted(kinds))}]. Help: Create an index for this key or use "
                "a different filter.",
            )


def check_facet(key: str, indexes: Indexes) -> None:
    index = indexes.get(key)
    if index is None or index.data_type.value not in MATCHING:
        raise Refused(
            400,
            f"Wrong input: No appropriate index for faceting: `{key}`. Please create one to facet "
            "on this field. Check https://qdrant.tech/documentation/concepts/indexing/"
            "#payload-index to see which payload schemas support Match conditions",
        )


def check_order(key: str, indexes: Indexes) -> None:
    index = indexes.get(key)
    if index is None or index.data_type.value not in RANGES:
        raise Refused(
            400,
            f"Wrong input: No range index for `order_by` key: `{key}`. Please create one to use "
            "`order_by`. Check https://qdrant.tech/documentation/concepts/indexing/"
            "#payload-index to see which payload schemas support Range conditions",
        )


def conditions(where: Any, inside: str = "") -> Iterator[tuple[str, set[str]]]:
    """(key, kinds of index that would do) of every condition."""
    if where is None:
        return
    for clause in (where.must, where.should, where.must_not):
        for condition in clause if isinstance(clause, list) else [clause] if clause else []:
            yield from _condition(condition, inside)
    if where.min_should:
        for condition in where.min_should.conditions:
            yield from _condition(condition, inside)


def _condition(condition: Any, inside: str) -> Iterator[tuple[str, set[str]]]:
    if isinstance(condition, models.Filter):
        yield from conditions(condition, inside)
    elif isinstance(condition, models.NestedCondition):
        yield from conditions(condition.nested.filter, f"{inside}{condition.nested.key}[].")
    elif isinstance(condition, models.FieldCondition):
        yield inside + condition.key, _kinds(condition)
    elif isinstance(condition, models.IsEmptyCondition):
        yield inside + condition.is_empty.key, set()
    elif isinstance(condition, models.IsNullCondition):
        yield inside + condition.is_null.key, set()


def _kinds(condition: models.FieldCondition) -> set[str]:
    kinds: set[str] = set()
    match = condition.match
    if isinstance(match, models.MatchText | models.MatchPhrase):
        kinds.add("text")
    elif match is not None:
        kinds |= _of_values(_values(match))
    if isinstance(condition.range, models.DatetimeRange):
        kinds.add("datetime")
    elif condition.range is not None:
        kinds |= {"integer", "float"}
    if condition.geo_radius or condition.geo_bounding_box or condition.geo_polygon:
        kinds.add("geo")
    return kinds


def _values(match: Any) -> Sequence[Any]:
    for name in ("any", "except_"):
        if getattr(match, name, None):
            return list(getattr(match, name))
    value = getattr(match, "value", None)
    return [] if value is None else [value]


def _of_values(values: Sequence[Any]) -> set[str]:
    if all(isinstance(value, bool) for value in values):
        return {"bool"}
    if all(isinstance(value, int) for value in values):
        return {"integer"}
    return {"keyword", "uuid"} if all(map(_is_uuid, values)) else {"keyword"}


def _is_uuid(text: Any) -> bool:
    try:
        uuid.UUID(str(text))
    except ValueError:
        return False
    return True
