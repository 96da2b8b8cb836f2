"""The sidebar: which collection, what to narrow by, and how to show it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import PurePath

import streamlit as st

from app import state
from app.resources import Opened
from app.state import PAGE_SIZES, Search
from indexer.parts import parse_where

TITLES = {
    "kind": "Kind",
    "folder": "Folder",
    "year": "Year",
    "languages": "Caption language",
    "tags": "Tag",
    "camera": "Camera",
    "format": "Format",
}
MOST = 12  # values of a facet


def show(search: Search, names: list[str], here: Opened) -> Search:
    """Draw the sidebar; a change is written to the address and the page runs anew."""
    with st.sidebar:
        if len(names) > 1:
            chosen = st.selectbox("Collection", names, index=names.index(search.collection))
            if chosen != search.collection:
                state.go(Search(collection=chosen, pieces=_portable(search)))
        _filters(search, here)
        _display(search)
    return search


def _portable(search: Search) -> tuple[state.Piece, ...]:
    """What means something in another collection too."""
    return tuple(piece for piece in search.pieces if not piece.rest.startswith("id:"))


def _filters(search: Search, here: Opened) -> None:
    where = parse_where(search.filters)
    facets = here.searcher.facets(where, MOST)
    for key, title in TITLES.items():
        counts = dict(facets.get(key, []))
        chosen = [value for value in where.get(key, ()) if value]
        if len(counts) < 2 and not chosen:
            continue
        options = list(dict.fromkeys([*counts, *chosen]))
        picked = st.pills(
            title,
            options,
            selection_mode="multi",
            default=chosen,
            format_func=partial(_option, key, counts),
            key=f"facet-{key}-{'|'.join(chosen)}",
        )
        if set(picked) != set(chosen):
            state.go(_narrowed(search, key, list(picked)))


def _option(key: str, counts: dict[str, int], value: str) -> str:
    name = PurePath(value).name or value if key == "folder" else value
    return f"{name} {counts.get(value, 0)}"


def _narrowed(search: Search, key: str, values: list[str]) -> Search:
    others = tuple(f for f in search.filters if f.partition("=")[0] != key)
    return replace(search, filters=others + tuple(f"{key}={value}" for value in values), page=1)


def _display(search: Search) -> None:
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
        state.go(replace(changed, page=1))
