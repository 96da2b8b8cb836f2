"""The parts of the search, each with its weight, its switch, and a way out."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import state
from app.media import thumbnail_url
from app.state import QueryChip, Search

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_LABEL = 28  # characters of a part


def show(search: Search) -> None:
    """A chip for each part; nothing where there is none."""
    if not search.chips:
        return
    with st.container(horizontal=True, key="pieces", gap="small"):
        for index, piece in enumerate(search.chips):
            _show_chip(search, index, piece)
        if st.button("Clear", type="tertiary", icon=":material/close:", key="clear"):
            state.navigate(Search(collection=search.collection))


def _show_chip(search: Search, index: int, chip: QueryChip) -> None:
    with st.popover(_label(chip), key=f"piece-{index}", width="content"):
        if chip.is_image:
            st.html(f'<img class="pl-piece" src="{image_url(search, chip)}" alt="">')
        else:
            st.markdown(f"**{_escape_markdown(chip.value)}**")
        key = f"{index}-{chip.param}"
        now = _nearest_weight(chip.weight)
        weight = st.select_slider("Weight", WEIGHTS, value=now, key=f"weight-{key}")
        wanted = not st.toggle("Not like this", value=not chip.positive, key=f"not-{key}")
        if (weight, wanted) != (now, chip.positive):
            state.navigate(
                search.with_changed_chip(
                    index, replace(chip, weight=float(weight), positive=wanted)
                )
            )
        if st.button("Remove", icon=":material/delete:", key=f"remove-{key}"):
            state.navigate(search.without_chip(index))


def image_url(search: Search, chip: QueryChip) -> str:
    kind, _, name = chip.value.partition(":")
    return f"picture/query/{name}" if kind == "img" else thumbnail_url(search.collection, name)


def _label(chip: QueryChip) -> str:
    sign = "" if chip.positive else "not "
    times = "" if chip.weight == 1 else f" ×{chip.weight:g}"
    if chip.is_image:
        return f":material/image: {sign}this picture{times}"
    text = chip.value if len(chip.value) <= MAX_LABEL else chip.value[: MAX_LABEL - 1] + "…"
    return f"{sign}{_escape_markdown(text)}{times}"


def _escape_markdown(text: str) -> str:
    """Without what Markdown would take for its own."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+!|:$~" else c for c in text)


def _nearest_weight(weight: float) -> float:
    return min(WEIGHTS, key=lambda known: abs(known - weight))
