"""The sidebar: the collection, the filters, and how to show the hits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import PurePath

import streamlit as st

from app import state
from app.services import CollectionSession
from app.state import PAGE_SIZES, Search
from indexer.search.query_syntax import parse_filters

TITLES = {
    "kind": "Kind",
    "folder": "Folder",
    "year": "Year",
    "languages": "Caption language",
    "tags": "Tag",
    "camera": "Camera",
    "format": "Format",
}
MAX_FACET_VALUES = 12  # values of a facet


def show(search: Search, names: list[str], session: CollectionSession) -> Search:
    """Show the sidebar; a change navigates to the new search."""
    with st.sidebar:
        if len(names) > 1:
            chosen = st.selectbox("Collection", names, index=names.index(search.collection))
            if chosen != search.collection:
                state.navigate(Search(collection=chosen, chips=_portable_chips(search)))
        _show_filters(search, session)
        _show_display_options(search)
    return search


def _portable_chips(search: Search) -> tuple[state.QueryChip, ...]:
    """The parts that another collection can answer too."""
    return tuple(chip for chip in search.chips if not chip.value.startswith("id:"))


def _show_filters(search: Search, session: CollectionSession) -> None:
    filters = parse_filters(search.filters)
    facets = session.searcher.facets(filters, MAX_FACET_VALUES)
    for key, title in TITLES.items():
        counts = dict(facets.get(key, []))
        chosen = [value for value in filters.get(key, ()) if value]
        if len(counts) < 2 and not chosen:
            continue
        options = list(dict.fromkeys([*counts, *chosen]))
        picked = st.pills(
            title,
            options,
            selection_mode="multi",
            default=chosen,
            format_func=partial(_format_option, key, counts),
            key=f"facet-{key}-{'|'.join(chosen)}",
        )
        if set(picked) != set(chosen):
            state.navigate(_with_filter(search, key, list(picked)))


def _format_option(key: str, counts: dict[str, int], value: str) -> str:
    name = PurePath(value).name or value if key == "folder" else value
    return f"{name} {counts.get(value, 0)}"


def _with_filter(search: Search, key: str, values: list[str]) -> Search:
    others = tuple(f for f in search.filters if f.partition("=")[0] != key)
    return replace(search, filters=others + tuple(f"{key}={value}" for value in values), page=1)


def _show_display_options(search: Search) -> None:
    st.divider()
    fold = st.toggle("Fold near-duplicates", value=search.fold, key=f"fold-{search.fold}")
    diversity = st.slider(
        "Diversity",
        0.0,
        1.0,
        search.diversity,
        0.1,
        key=f"mix-{search.diversity}",
        help="Higher shows results that differ more from each other.",
    )
    size = st.segmented_control(
        "Results a page", PAGE_SIZES, default=search.size, key=f"size-{search.size}"
    )
    changed = replace(search, fold=fold, diversity=float(diversity), size=size or search.size)
    if changed != search:
        state.navigate(replace(changed, page=1))
