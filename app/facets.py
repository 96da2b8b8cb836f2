"""The filters of a search as JSON, for the component that shows them.

Counts are of the results where there is a query, else of the whole collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import PurePath

from app.json_routes import Json
from app.rankings import make_ranking_name, rank_hits
from app.services import MAX_FACET_VALUES, list_facets, sample_payloads
from app.state import EMPTY, Search
from indexer.collections.schema import FACETS, TAKEN
from indexer.search.dates import parse_date_range
from indexer.search.filter_syntax import format_filters
from indexer.search.filters import COLUMN_PREFIX, is_column
from indexer.search.folders import SUBTREE, FolderNode, build_folder_tree
from indexer.search.searcher import Searcher
from indexer.types import FieldFilter, Filters, Payload

TITLES = {
    "kind": "Kind",
    "folder": "Folder",
    "year": "Year",
    "languages": "Caption language",
    "tags": "Tag",
    "camera": "Camera",
    "format": "Format",
}
OPTIONAL = ("year", "languages", "tags", "camera")  # one value tells some points from the others
MAX_COLUMNS = 8  # of the user's own that are facets


def describe_facets(search: Search, searcher: Searcher, ranking: str | None = None) -> Json:
    """The facets of a search, with their most common values and what is chosen there.

    Args:
        search: What is shown.
        searcher: That of its collection.
        ranking: The ranked list of the page; see `load_page`.

    Returns:
        `facets`; `of`: the number of best results that they count, None for all; `days`: the first
        and the last day that are chosen; and `others`, the filters that no facet shows.
    """
    described, of = [], None
    if search.terms:
        payloads = list_payloads(search, ranking)
        of = len(payloads)
        counts = {key: count_values(payloads, key) for key in FACETS}
    else:
        payloads = sample_payloads(search.filters, searcher)
        counts = list_facets(search.filters, searcher)
    columns = choose_columns(payloads, search.filters)
    for key in [*TITLES, *columns]:
        wanted = search.filters.get(key, EMPTY)
        found = counts.get(key, [])
        has_days = key == "year" and TAKEN in search.filters
        if has_days:
            found = count_years(search, searcher, ranking)
        elif wanted.any_of and (search.terms or is_column(key)):  # what the others would give
            without = search.with_filter(key, replace(wanted, any_of=()))
            beside = (
                list_payloads(without, ranking)
                if search.terms
                else sample_payloads(without.filters, searcher)
            )
            found = count_values(beside, key)
        elif is_column(key):
            found = count_values(payloads, key)
        if key == "folder":
            values = describe_folders(found, wanted)
        else:
            values = describe_values(key, found[:MAX_FACET_VALUES], wanted)
        is_tree = any(value.get("children") for value in values)
        is_useful = len(values) > 1 or is_tree or (values and key in OPTIONAL) or has_days
        if is_useful or wanted != EMPTY:
            described.append(
                {
                    "key": key,
                    "title": TITLES.get(key, key.removeprefix(COLUMN_PREFIX)),
                    "values": values,
                    "has_more": len(values) >= MAX_FACET_VALUES and not is_column(key),
                    "any": list(wanted.any_of),
                    "none": list(wanted.none_of),
                }
            )
    return {
        "facets": described,
        "of": of,
        "days": describe_days(search.filters) or ["", ""],
        "others": describe_others(search, columns),
    }


def count_years(search: Search, searcher: Searcher, ranking: str | None) -> list[tuple[str, int]]:
    """The years of all results that there would be without a choice of days or years."""
    without = search.with_filter(TAKEN, EMPTY)
    year = replace(search.filters.get("year", EMPTY), any_of=())
    without = without.with_filter("year", year)
    if search.terms:
        return count_values(list_payloads(without, ranking), "year")
    return list_facets(without.filters, searcher).get("year", [])


def list_payloads(search: Search, ranking: str | None) -> list[Payload]:
    """The payloads of the best results."""
    ranked = rank_hits(search, ranking or make_ranking_name())
    return [hit.payload for hit in ranked.first.hits]


def count_values(payloads: Iterable[Payload], key: str) -> list[tuple[str, int]]:
    """The values of a payload key, the most common first, each with how many have it."""
    counts: Counter[str] = Counter()
    column = key.removeprefix(COLUMN_PREFIX) if is_column(key) else ""
    for payload in payloads:
        value = (payload.get("meta") or {}).get(column) if column else payload.get(key)
        values = value if isinstance(value, list) else [] if value is None else [value]
        counts.update({str(one): 1 for one in values})
    return counts.most_common()


def choose_columns(payloads: Sequence[Payload], filters: Filters) -> list[str]:
    """The columns of the user's own that are worth a facet: those whose values come again, and
    those that are filtered by."""
    columns = Counter(column for payload in payloads for column in payload.get("meta") or {})
    chosen = []
    for column, count in columns.most_common():
        key = COLUMN_PREFIX + column
        values = len(count_values(payloads, key))
        if key in filters or (1 < values <= min(count / 2, MAX_FACET_VALUES)):
            chosen.append(key)
    return chosen[:MAX_COLUMNS]


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


def describe_folders(counts: Sequence[tuple[str, int]], wanted: FieldFilter = EMPTY) -> list[Json]:
    """The tree of folders, and those that are chosen but are not in it."""
    nodes = build_folder_tree(counts)
    roots = [node.value.removesuffix(SUBTREE) for node in nodes]
    tree = [
        _describe_node(node) | {"label": _name_folder(root, roots)}
        for node, root in zip(nodes, roots, strict=True)
    ]
    known = {node["value"] for node in _walk(tree)}
    others = [one for one in (*wanted.any_of, *wanted.none_of) if one not in known]
    names = [*roots, *(one.removesuffix(SUBTREE) for one in others)]
    return [
        *tree,
        *(
            {"value": one, "label": _name_folder(one.removesuffix(SUBTREE), names), "count": None}
            for one in others
        ),
    ]


def _describe_node(node: FolderNode) -> Json:
    return {
        "value": node.value,
        "label": node.label,
        "count": node.count,
        "children": list(map(_describe_node, node.children)),
    }


def _walk(nodes: Iterable[Json]) -> Iterator[Json]:
    for node in nodes:
        yield node
        yield from _walk(node.get("children", ()))


def _name_folder(folder: str, folders: Sequence[str]) -> str:
    """The last parts of its path, as many as tell it from the others."""
    parts = PurePath(folder).parts
    for length in range(1, len(parts)):
        name = "/".join(parts[-length:])
        if not any(other != folder and f"/{other}".endswith(f"/{name}") for other in folders):
            return name
    return folder


def describe_days(filters: Filters) -> list[str] | None:
    """The first and the last day on which images were taken that pass the filters, "" for none;
    None for a filter that is not a range of days."""
    wanted = filters.get(TAKEN, EMPTY)
    if wanted.none_of or len(wanted.any_of) != 1:
        return None
    dates = parse_date_range(wanted.any_of[0])
    if dates is None:
        return None
    try:
        first = dates["gte"].date().isoformat() if "gte" in dates else ""
        last = (dates["lt"].date() - timedelta(days=1)).isoformat() if "lt" in dates else ""
    except OverflowError:  # before the first day that there is
        return None
    return [first, last]


def describe_others(search: Search, columns: Sequence[str] = ()) -> list[Json]:
    """The filters of the address that no facet shows, so that they can be removed."""
    shown = () if describe_days(search.filters) is None else (TAKEN,)
    return [
        {
            "key": key,
            "side": side,
            "text": format_filters({key: FieldFilter(**{side: values})})[0],
        }
        for key, wanted in search.filters.items()
        if key not in TITLES and key not in columns and key not in shown
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
