"""Filters: the keys that they may have, and the conditions of the store that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from indexer.captions.normalize import normalize_key, normalize_text
from indexer.collections.schema import DATETIMES, KEYWORDS
from indexer.errors import QueryError
from indexer.search.dates import parse_date_range
from indexer.types import FieldFilter, Filters

if TYPE_CHECKING:
    from qdrant_client import models

NUMERIC_FIELDS = ("year", "width", "height", "bytes", "frames", "passage", "latitude", "longitude")
DATE_FIELDS = DATETIMES
FIELDS = (*KEYWORDS, *NUMERIC_FIELDS, *DATE_FIELDS)
FIELD_ALIASES = {"language": "languages", "tag": "tags", "path": "paths"}
COLUMN_PREFIX = "meta."  # of the columns and keys that came with the captions
BARE_KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]+")
NUMBER_PATTERN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
COMPARISON_PATTERN = re.compile(rf"(?P<sign>[<>]=?)\s*(?P<number>{NUMBER_PATTERN.pattern})")
COMPARISON_OPERATORS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def make_filters(filters: Mapping[str, object]) -> Filters:
    """Make filters from the form that JSON and the Python API have; see `FieldFilter.from_value`.

    Raises `QueryError`.
    """
    if not isinstance(filters, Mapping):
        raise QueryError("filters map payload keys to values, as in {'kind': 'image'}")
    made: dict[str, FieldFilter] = {}
    for name, value in filters.items():
        try:
            add_filter(made, str(name), FieldFilter.from_value(value))
        except ValueError as error:
            raise QueryError(
                f"the filter {name!r}: {error}; write 'image', ['image', 'text'] or "
                "{'not': 'text'}"
            ) from None
    return made


def add_filter(filters: dict[str, FieldFilter], name: str, added: FieldFilter) -> None:
    """Add the filter of the field called `name` to `filters`; of two for one field, the accepted
    values come together, and the excluded ones."""
    key = resolve_key(name)
    known = filters.get(key, FieldFilter())
    filters[key] = FieldFilter(
        tuple(dict.fromkeys(known.any_of + added.any_of)),
        tuple(dict.fromkeys(known.none_of + added.none_of)),
    )


def resolve_key(name: str) -> str:
    """The payload key of the field called `name`; other names are columns of the user's own.

    Raises `QueryError` for a name that is blank.
    """
    key = name.strip()
    key = FIELD_ALIASES.get(key, key)
    if key in FIELDS:
        return key
    column = normalize_key(key.removeprefix(COLUMN_PREFIX))
    if not column:
        raise QueryError("a filter has no key; write key=value, as in kind=image")
    return COLUMN_PREFIX + column


def is_column(key: str) -> bool:
    """Whether a payload key is a column of the user's own."""
    return key.startswith(COLUMN_PREFIX)


def to_json_path(key: str) -> str:
    """The path of a payload key in the store: other characters than letters need quotes."""
    if not is_column(key):
        return key
    column = key.removeprefix(COLUMN_PREFIX)
    return key if BARE_KEY_PATTERN.fullmatch(column) else f'{COLUMN_PREFIX}"{column}"'


def build_store_filter(filters: Filters) -> models.Filter | None:
    """A filter that requires what every field must have; raises `QueryError`."""
    from qdrant_client import models

    if not filters:
        return None
    required: list[models.Condition] = []
    excluded: list[models.Condition] = []
    for key, wanted in filters.items():
        if key == "folder":  # may be thousands, of a tree of folders
            required += _match_folders(wanted.any_of)
            excluded += _match_folders(wanted.none_of)
            continue
        if wanted.any_of:
            accepted = [_build_conditions(key, value) for value in wanted.any_of]
            required.append(models.Filter(should=list(chain.from_iterable(accepted))))
        excluded += chain.from_iterable(_build_conditions(key, v) for v in wanted.none_of)
    return models.Filter(must=required or None, must_not=excluded or None)


def _build_conditions(key: str, value: str) -> list[models.Condition]:
    """The alternatives that `value` stands for: the value itself, and the numbers in a range."""
    from qdrant_client import models

    if key in DATE_FIELDS:
        dates = parse_date_range(value)
        if dates is None:
            raise QueryError(
                f"{key} is a date; write {key}=2019, {key}=2019-07, {key}=2019-07-14..2019-08 or "
                f"{key}>=2019, not {value!r}"
            )
        return [models.FieldCondition(key=key, range=models.DatetimeRange(**dates))]
    numbers = None if key in KEYWORDS else parse_range(value)
    if key in NUMERIC_FIELDS and numbers is None:
        raise QueryError(
            f"{key} is a number; write {key}=2021, {key}=2019..2022 or {key}>=2019, not {value!r}"
        )
    path = to_json_path(key)
    conditions: list[models.Condition] = []
    if numbers is not None:
        conditions.append(models.FieldCondition(key=path, range=models.Range(**numbers)))
    if key not in NUMERIC_FIELDS:
        stored = normalize_text(value) if key == "tags" or is_column(key) else value
        match = models.MatchValue(value=stored)
        conditions.append(models.FieldCondition(key=path, match=match))
    return conditions


def _match_folders(folders: Sequence[str]) -> list[models.Condition]:
    """Whether a point is in one of some folders."""
    from qdrant_client import models

    stored = [
        folder.removesuffix("/") if len(folder) > 1 else folder  # a shell completes one
        for folder in folders
    ]
    match = models.MatchAny(any=stored)
    return [models.FieldCondition(key="folder", match=match)] if stored else []


def parse_range(value: str) -> dict[str, float] | None:
    """Parse `2021`, `2019..2022`, `2019..`, `>=2019`; None for what is not a range of numbers."""
    if match := COMPARISON_PATTERN.fullmatch(value.strip()):
        return {COMPARISON_OPERATORS[match["sign"]]: float(match["number"])}
    low, dots, high = (part.strip() for part in value.partition(".."))
    ends = {"gte": low, "lte": high if dots else low}
    if not all(NUMBER_PATTERN.fullmatch(end) or (dots and not end) for end in ends.values()):
        return None
    return {name: float(end) for name, end in ends.items() if end} or None
