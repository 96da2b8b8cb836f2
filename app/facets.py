"""The filters of a search as JSON, for the component that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from app.json_routes import Json
from app.services import MAX_FACET_VALUES, list_facets
from app.state import EMPTY, Search
from indexer.search.filter_syntax import format_filters
from indexer.search.searcher import Searcher
from indexer.types import FieldFilter

TITLES = {
    "kind": "Kind",
    "folder": "Folder",
    "year": "Year",
    "languages": "Caption language",
    "tags": "Tag",
    "camera": "Camera",
    "format": "Format",
}


def describe_facets(search: Search, searcher: Searcher) -> list[Json]:
    """The facets of a collection, with their most common values and what is chosen there."""
    facets = list_facets(search.filters, searcher)
    described = []
    for key, title in TITLES.items():
        wanted = search.filters.get(key, EMPTY)
        values = describe_values(key, facets.get(key, []), wanted)
        if len(values) > 1 or wanted != EMPTY:
            described.append(
                {
                    "key": key,
                    "title": title,
                    "values": values,
                    "has_more": len(values) >= MAX_FACET_VALUES,
                    "any": list(wanted.any_of),
                    "none": list(wanted.none_of),
                }
            )
    return described


def describe_values(
    key: str, counts: Sequence[tuple[str, int]], wanted: FieldFilter = EMPTY
) -> list[Json]:
    """The values of a facet, and those that are chosen there but have no count."""
    known = {str(value): count for value, count in counts}
    values = list(dict.fromkeys([*known, *wanted.any_of, *wanted.none_of]))
    return [
        {
            "value": value,
            "label": _name_folder(value, values) if key == "folder" else value,
            "count": known.get(value),
        }
        for value in values
    ]


def _name_folder(folder: str, folders: Sequence[str]) -> str:
    """The last parts of its path, as many as tell it from the others."""
    parts = PurePath(folder).parts
    for length in range(1, len(parts)):
        name = "/".join(parts[-length:])
        if not any(other != folder and f"/{other}".endswith(f"/{name}") for other in folders):
            return name
    return folder


def describe_others(search: Search) -> list[Json]:
    """The filters of the address that no facet shows, so that they can be removed."""
    return [
        {
            "key": key,
            "side": side,
            "text": format_filters({key: FieldFilter(**{side: values})})[0],
        }
        for key, wanted in search.filters.items()
        if key not in TITLES
        for side, values in (("any_of", wanted.any_of), ("none_of", wanted.none_of))
        if values
    ]


def change_filters(search: Search, changed: Json) -> Search:
    """The search after a click on a value, on a filter, or on "Clear the filters"."""
    if "clear" in changed:
        return replace(search, filters={})
    key = str(changed["key"])
    if "remove" in changed:
        nothing: dict[str, tuple[str, ...]] = {changed["remove"]: ()}
        return search.with_filter(key, replace(search.filters.get(key, EMPTY), **nothing))
    return search.with_filter(key, FieldFilter(tuple(changed["any"]), tuple(changed["none"])))
