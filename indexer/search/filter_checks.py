"""Finds what filters ask for that no point has, so that a mistyped name is not just no hits."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from indexer.collections.schema import FACETS
from indexer.errors import QueryError
from indexer.search.filters import (
    COLUMN_PREFIX,
    FIELD_ALIASES,
    FIELDS,
    NUMERIC_FIELDS,
    is_column,
    parse_range,
    to_json_path,
)
from indexer.stores.base import Store
from indexer.types import Filters, Record

SAMPLE_SIZE = 500  # points whose columns are known
MAX_COLUMNS = 20  # in a message
MAX_VALUES = 1000  # of a facet
LIKELY_MEANINGS = {
    "date": "year",
    "taken": "year",
    "type": "kind",
    "file": "name",
    "filename": "name",
    "size": "bytes",
    "directory": "folder",
    "extension": "format",
}


def has_column(store: Store, key: str) -> bool:
    """Whether a point of `store` has a value for the payload key."""
    return bool(_sample_column(store, key, 1))


def check_columns(store: Store, keys: Iterable[str]) -> None:
    """Raise `QueryError`, with the nearest key, for a column that no point has.

    Takes a request for each column; other keys, and columns of an empty store, are not checked.
    """
    key = next((key for key in keys if is_column(key) and not has_column(store, key)), None)
    sample = store.scroll(limit=SAMPLE_SIZE)[0] if key else []
    if not key or not sample:
        return
    columns = sorted({column for point in sample for column in point.payload.get("meta") or {}})
    name = key.removeprefix(COLUMN_PREFIX)
    nearest = _find_nearest(name, [*FIELDS, *FIELD_ALIASES, *columns])
    nearest = nearest or LIKELY_MEANINGS.get(name.casefold())
    if nearest:
        raise QueryError(f"no item has the key {name!r}; did you mean {nearest!r}?")
    listed = ", ".join([*FIELDS, *columns[:MAX_COLUMNS]])
    raise QueryError(f"no item has the key {name!r}; the keys are {listed}")


def explain_no_hits(store: Store, filters: Filters) -> str:
    """Say which accepted value no point has, and which key is not the user's column; or ""."""
    sentences = []
    for key, wanted in filters.items():
        if not wanted.any_of:
            continue
        values = _list_values(store, key)
        unknown = next((value for value in wanted.any_of if value not in values), None)
        if values and unknown and not (is_column(key) and parse_range(unknown)):
            nearest = _find_nearest(unknown, values)
            meant = f"; did you mean {nearest!r}?" if nearest else "."
            name = key.removeprefix(COLUMN_PREFIX)
            sentences.append(f"No item has {name}={unknown}{meant}")
        names = [key, *(alias for alias, of in FIELD_ALIASES.items() if of == key)]
        for name in () if is_column(key) else names:
            if has_column(store, COLUMN_PREFIX + name):
                column = COLUMN_PREFIX + name
                sentences.append(f"The key {name!r} is built in; your own column is {column!r}.")
    return " ".join(sentences)


def _list_values(store: Store, key: str) -> list[str]:
    """All values of a field of the payload; empty if they are too many to tell."""
    if key in FACETS and key not in NUMERIC_FIELDS:
        values = [value for value, _ in store.facet(key, None, MAX_VALUES)]
        return values if len(values) < MAX_VALUES else []
    if not is_column(key):
        return []
    points = _sample_column(store, key, SAMPLE_SIZE)
    column = key.removeprefix(COLUMN_PREFIX)
    values = [str(point.payload["meta"][column]) for point in points]
    return list(dict.fromkeys(values)) if len(values) < SAMPLE_SIZE else []


def _sample_column(store: Store, key: str, size: int) -> list[Record]:
    """At most `size` points that have a value for the payload key."""
    from qdrant_client import models

    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=to_json_path(key)))
    return store.scroll(models.Filter(must_not=[empty]), limit=size)[0]


def _find_nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is spelled most like `word`; a path by its last folder too."""
    by_spelling: dict[str, str] = {}
    for one in known:
        by_spelling |= {one.rpartition("/")[2].casefold(): one, one.casefold(): one}
    longer = (spelling for spelling in by_spelling if spelling.startswith(word.casefold()))
    close = get_close_matches(word.casefold(), by_spelling, n=1) or [*longer][:1]
    return by_spelling[close[0]] if close else None
