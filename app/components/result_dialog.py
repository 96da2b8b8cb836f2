"""One result, large: what is known of it, why it was found, and where to go from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import streamlit as st

from app import state, votes
from app.components import vote_buttons
from app.components.gallery import choose_title
from app.media import original_url
from app.services import CollectionSession
from app.state import QueryChip, Search
from indexer.types import Hit, Payload, Query, Record


def show(search: Search, here: CollectionSession) -> None:
    """The dialog of the result that the address names, if the collection has it."""
    try:
        records = here.collection.store.retrieve([search.open_id])
    except Exception:  # an address may hold anything
        records = []
    if not records:
        return
    record = records[0]

    @st.dialog(choose_title(record.payload)[:80] or "Result", width="large", on_dismiss=_close)
    def dialog() -> None:
        _show_dialog(search, record, here)

    dialog()


def _close() -> None:
    state.write_url(replace(state.read_url(), open_id=""))


def _show_dialog(search: Search, record: Record, here: CollectionSession) -> None:
    picture, facts = st.columns([3, 2], gap="large")
    with picture:
        _show_image(search, record)
        _show_actions(search, record)
    with facts:
        _show_explanation(search, record, here)
        _show_captions(record.payload)
        _show_facts(record.payload)


def _show_image(search: Search, record: Record) -> None:
    if record.payload["kind"] == "text":
        st.html(f'<blockquote class="pl-full">{escape(record.payload["text"])}</blockquote>')
        return
    url = original_url(search.collection, record.id)
    alt = escape(choose_title(record.payload), quote=True)
    st.html(f'<a href="{url}" target="_blank"><img class="pl-large" src="{url}" alt="{alt}"></a>')


def _show_actions(search: Search, record: Record) -> None:
    """Buttons that make this result a part of the search."""
    this = QueryChip(f"id:{record.id}")
    with st.container(horizontal=True, key="ways"):
        if search.chips:
            vote = votes.load_votes(search).get(record.id, 0)
            st.html(vote_buttons.render_buttons(search, record.id, vote), width="content")
        if st.button("More like this", icon=":material/auto_awesome_motion:", type="primary"):
            state.navigate(Search(collection=search.collection, chips=(this,)))
        if st.button("Add words to this picture", icon=":material/add_notes:"):
            state.navigate(Search(collection=search.collection, chips=(this,)))
        if st.button("Not like this", icon=":material/block:"):
            state.navigate(replace(search.with_chip(replace(this, positive=False)), open_id=""))


def _show_explanation(search: Search, record: Record, here: CollectionSession) -> None:
    hit = _find_hit(search, record, here)
    if hit is None:
        return
    st.markdown("##### Why it was found")
    for part in hit.explanation["parts"]:
        st.html(_render_bar(part["label"], part["share"]))
    channels = hit.explanation["channels"]
    labels = {"image": "by sight", "text": "by its caption", "bm25": "by its words"}
    st.caption(
        " · ".join(f"{labels[name]} {channels[name]:.2f}" for name in labels if name in channels)
    )


def _find_hit(search: Search, record: Record, here: CollectionSession) -> Hit | None:
    """This result as the search sees it: the same query, among copies of this content alone."""
    if not search.chips:
        return None
    query = search.to_query()
    only = {"content": (str(record.payload["content"]),)}
    found = here.searcher.search(
        Query(query.parts, filters=only, limit=50, group_duplicates=False)
    ).hits
    return next((hit for hit in found if hit.id == record.id), None)


def _render_bar(label: str, share: float) -> str:
    side = "for" if share >= 0 else "against"
    return (
        f'<div class="pl-bar"><span>{escape(label)}</span>'
        f'<i class="{side}" style="width:{abs(share) * 100:.0f}%"></i>'
        f"<b>{share * 100:+.0f}%</b></div>"
    )


def _show_captions(payload: Payload) -> None:
    captions: Sequence[Mapping[str, Any]] = payload["captions"]
    if captions:
        st.markdown("##### Captions")
        rows = "".join(
            f"<dt>{escape(c['language'] or '–')}</dt><dd>{escape(c['text'])}</dd>" for c in captions
        )
        st.html(f'<dl class="pl-facts">{rows}</dl>')


def _show_facts(payload: Payload) -> None:
    size = f"{payload['width']} × {payload['height']}" if "width" in payload else ""
    kilobytes = f"{payload['bytes'] / 1000:,.0f} kB"
    facts = {
        "Taken": str(payload.get("taken", "")).replace("T", " "),
        "Camera": payload.get("camera", ""),
        "Size": " · ".join(filter(None, [size, kilobytes, payload["format"]])),
        "Tags": ", ".join(payload["tags"]),
        **{key: str(value) for key, value in payload.get("meta", {}).items()},
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if v)
    paths = "".join(f"<dd><code>{escape(path)}</code></dd>" for path in payload["paths"])
    st.markdown("##### About it")
    st.html(f'<dl class="pl-facts">{rows}<dt>Files</dt>{paths}</dl>')
