"""Finds what filters ask for that no point has, so that a mistyped name is not just no hits."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from indexer.collections.schema import FACETS
from indexer.errors import QueryError
from indexer.search.filter_syntax import format_filter
from indexer.search.filters import (
    COLUMN_PREFIX,
    FIELD_ALIASES,
    FIELDS,
    NUMERIC_FIELDS,
    build_store_filter,
    is_column,
    parse_range,
    to_json_path,
)
from indexer.search.folders import expand_folders
from indexer.stores.base import Store
from indexer.types import FieldFilter, Filters, Record

SAMPLE_SIZE = 500  # points whose columns are known
MAX_COLUMNS = 20  # in a message
MAX_VALUES = 1000  # of a facet
MAX_CHECKED = 10  # values of a filter, a request each
LIKELY_MEANINGS = {
    "date": "taken",
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
    found = {column for point in sample for column in point.payload.get("meta") or {}}
    columns = [_shorten_key(COLUMN_PREFIX + column) for column in sorted(found) if column]
    name = key.removeprefix(COLUMN_PREFIX)
    meaning = LIKELY_MEANINGS.get(name.casefold())
    built_in = () if meaning else (*FIELDS, *FIELD_ALIASES)
    own = COLUMN_PREFIX + key  # a column that is called like a key with the prefix
    nearest = own if own in columns else _find_nearest(name, [*built_in, *columns]) or meaning
    unknown = f"no item has the key {_shorten_key(key)!r}"
    if nearest:
        raise QueryError(f"{unknown}; did you mean {nearest!r}?")
    raise QueryError(f"{unknown}; the keys are {', '.join([*FIELDS, *columns[:MAX_COLUMNS]])}")


def explain_filters(store: Store, filters: Filters, *, is_empty: bool) -> str:
    """Say which value no point has, and which key is not the user's column; or "".

    `is_empty` says that the filters leave nothing. Otherwise the only value that a key must have
    is not in doubt, and costs no request.
    """
    sentences = []
    for key, wanted in filters.items():
        in_doubt = wanted.none_of
        if is_empty or len(wanted.any_of) > 1:
            in_doubt = wanted.any_of + in_doubt
        unknown = next((v for v in in_doubt[:MAX_CHECKED] if not _has_value(store, key, v)), None)
        if unknown:
            sentences.append(_explain_value(store, key, unknown, wanted.any_of))
        if is_column(key) or not (is_empty or unknown):
            continue
        for name in (key, *(alias for alias, of in FIELD_ALIASES.items() if of == key)):
            column = COLUMN_PREFIX + name
            if has_column(store, column):
                sentences.append(f"The key {name!r} is built in; your own column is {column!r}.")
    return " ".join(sentences)


def _explain_value(store: Store, key: str, unknown: str, all_of_them: tuple[str, ...]) -> str:
    name = _shorten_key(key)
    values = _list_values(store, key)
    is_comparison = unknown[0] in "<>"
    shown = f"{name}{unknown}" if is_comparison else format_filter(name, "=", unknown)
    missing = f"No item has {shown}"
    if is_column(key) and (is_comparison or ".." in unknown) and parse_range(unknown):
        is_text = values and not any(map(parse_range, values))
        return (
            f"{missing}; its values are text, such as {values[0]!r}." if is_text else f"{missing}."
        )
    candidates = [sep.join(all_of_them) for sep in (", ", ",") if len(all_of_them) > 1]
    for candidate in (*candidates, unknown):  # a comma may be part of the value
        nearest = _find_nearest(candidate, [v for v in values if candidate is unknown or "," in v])
        if nearest:
            lost = " A shell takes double quotes, unless single ones are around the filter."
            meant = f"{missing}; did you mean {format_filter(name, '=', nearest)}?"
            return meant if candidate is unknown else meant + lost
    return f"{missing}."


def _shorten_key(key: str) -> str:
    """`meta.price` -> `price`, but `meta.year` where `year` is another key."""
    name = key.removeprefix(COLUMN_PREFIX)
    is_other = name in FIELDS or name in FIELD_ALIASES or name.startswith(COLUMN_PREFIX)
    return key if is_other else name


def _has_value(store: Store, key: str, value: str) -> bool:
    where = build_store_filter(expand_folders(store, {key: FieldFilter((value,))}))
    return bool(store.scroll(where, limit=1)[0])


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
