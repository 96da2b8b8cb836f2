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
    to_json_path,
)
from indexer.stores.base import Store
from indexer.types import Filters

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
    from qdrant_client import models

    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=to_json_path(key)))
    return bool(store.scroll(models.Filter(must_not=[empty]), limit=1)[0])


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
    nearest = LIKELY_MEANINGS.get(name.casefold()) or _find_nearest(
        name, [*FIELDS, *FIELD_ALIASES, *columns]
    )
    if nearest:
        raise QueryError(f"no item has the key {name!r}; did you mean {nearest!r}?")
    listed = ", ".join([*FIELDS, *columns[:MAX_COLUMNS]])
    raise QueryError(f"no item has the key {name!r}; the keys are {listed}")


def explain_no_hits(store: Store, filters: Filters) -> str:
    """A sentence about the first accepted value that no point has; "" if there is none."""
    for key, wanted in filters.items():
        if key in FACETS and key not in NUMERIC_FIELDS and wanted.any_of:
            values = [value for value, _ in store.facet(key, None, MAX_VALUES)]
            unknown = [value for value in wanted.any_of if value not in values]
            if unknown and len(values) < MAX_VALUES:
                nearest = _find_nearest(unknown[0], values)
                meant = f"; did you mean {nearest!r}?" if nearest else "."
                return f"No item has {key}={unknown[0]}{meant}"
        if not is_column(key) and has_column(store, COLUMN_PREFIX + key):
            return f"The key {key!r} is Polylens's own; your column is {COLUMN_PREFIX + key!r}."
    return ""


def _find_nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that is spelled most like `word`; a path by its last folder too."""
    by_spelling: dict[str, str] = {}
    for one in known:
        by_spelling |= {one.rpartition("/")[2].casefold(): one, one.casefold(): one}
    close = get_close_matches(word.casefold(), by_spelling, n=1)
    return by_spelling[close[0]] if close else None
