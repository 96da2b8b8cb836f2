"""The parts of the search, each with its weight, its switch, and a way out."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import state
from app.media import thumb_url
from app.state import Piece, Search

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
SHOWN = 28  # characters of a part


def show(search: Search) -> None:
    """A chip for each part; nothing where there is none."""
    if not search.pieces:
        return
    with st.container(horizontal=True, key="pieces", gap="small"):
        for index, piece in enumerate(search.pieces):
            _chip(search, index, piece)
        if st.button("Clear", type="tertiary", icon=":material/close:", key="clear"):
            state.go(Search(collection=search.collection))


def _chip(search: Search, index: int, piece: Piece) -> None:
    with st.popover(_label(piece), key=f"piece-{index}", width="content"):
        if piece.is_picture:
            st.html(f'<img class="pl-piece" src="{picture_url(search, piece)}" alt="">')
        else:
            st.markdown(f"**{_plain(piece.rest)}**")
        key = f"{index}-{piece.code}"
        now = _nearest(piece.weight)
        weight = st.select_slider("Weight", WEIGHTS, value=now, key=f"weight-{key}")
        wanted = not st.toggle("Not like this", value=not piece.wanted, key=f"not-{key}")
        if (weight, wanted) != (now, piece.wanted):
            state.go(search.changed(index, replace(piece, weight=float(weight), wanted=wanted)))
        if st.button("Remove", icon=":material/delete:", key=f"remove-{key}"):
            state.go(search.without(index))


def picture_url(search: Search, piece: Piece) -> str:
    kind, _, name = piece.rest.partition(":")
    return f"picture/query/{name}" if kind == "img" else thumb_url(search.collection, name)


def _label(piece: Piece) -> str:
    sign = "" if piece.wanted else "not "
    times = "" if piece.weight == 1 else f" ×{piece.weight:g}"
    if piece.is_picture:
        return f":material/image: {sign}this picture{times}"
    text = piece.rest if len(piece.rest) <= SHOWN else piece.rest[: SHOWN - 1] + "…"
    return f"{sign}{_plain(text)}{times}"


def _plain(text: str) -> str:
    """Without what Markdown would take for its own."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+!|:$~" else c for c in text)


def _nearest(weight: float) -> float:
    return min(WEIGHTS, key=lambda known: abs(known - weight))
