"""The worst queries: what was asked, what should have been found, and what was found instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path

import streamlit as st

from app.answers import Answer, Ref, answers, hardest
from app.quality_change import choose
from app.quality_words import direction, place
from app.resources import settings
from app.results import Result, stamp
from app.runs import Run
from indexer.decode import Limits, decode, read
from indexer.skips import Undecodable
from indexer.walk import file_path

A_PAGE = 5  # queries
FOUND = 5  # documents of each
WIDTH = 104  # pixels of a picture on the page: three abreast on a phone
SIDE = 208  # of its shorter side: for screens with two pixels a dot
WORDS = 180  # characters of a text
FALLEN, HARD = "Fell most", "Hardest now"


def show(run: Run) -> None:
    """The section; raises `DamagedError`."""
    result = choose(run)
    if result is None:
        return
    ids = _ids(result)
    if not ids:
        st.html('<div class="pl-note">Every query finds a right answer first.</div>')
        return
    now = answers(result.after, ids)
    before = answers(result.before, ids) if result.before else {}
    for id in _shown([id for id in ids if id in now], str(result.folder)):
        with st.container(border=True, key=f"query-{result.folder}-{id}"):
            _query(now[id], before)


def _ids(result: Result) -> tuple[str, ...]:
    if not result.worst:
        if result.before:
            st.caption("No query's first right answer fell. These are the hardest.")
        return hardest(result.after)
    kind = st.segmented_control(
        "Which queries",
        [FALLEN, HARD],
        default=FALLEN,
        required=True,
        key=f"worst-{result.folder}",
        label_visibility="collapsed",
    )
    return hardest(result.after) if kind == HARD else result.worst


def _shown(ids: Sequence[str], key: str) -> Sequence[str]:
    """One page of the queries."""
    pages = max(1, -(-len(ids) // A_PAGE))
    page = 1
    if pages > 1:
        with st.container(horizontal=True, horizontal_alignment="center", key="worst-pages"):
            page = int(st.pagination(pages, key=f"worst-page-{key}-{ids[0]}"))
    return ids[(page - 1) * A_PAGE : page * A_PAGE]


def _query(answer: Answer, before: Mapping[str, Answer]) -> None:
    was = before.get(answer.id)
    told = " → ".join(place(one.rank) for one in (was, answer) if one)
    facts = " · ".join(filter(None, [direction(answer.direction), answer.language]))
    words = f"<h4>{escape(answer.query.text)}</h4>" if answer.query.text else ""
    st.html(f'<div class="pl-query">{words}<p>{escape(facts)} · <b>{escape(told)}</b></p></div>')
    with st.container(horizontal=True, gap="large"):
        if answer.query.image:
            _row("Asked with", [Ref("", answer.query.image)], answer)
        _row("Should be found", answer.relevant[:2], answer)
        _row("Was found", answer.found[:FOUND], answer)


def _row(title: str, refs: Sequence[Ref], answer: Answer) -> None:
    with st.container(width="content", gap="xsmall"):
        st.html(f'<p class="pl-small">{escape(title)}</p>')
        with st.container(horizontal=True, gap="xsmall"):
            for ref in refs:
                with st.container(width=WIDTH, gap=None):
                    _document(ref, right=title == "Was found" and ref in answer.relevant)


def _document(ref: Ref, right: bool) -> None:
    words = ref.text[:WORDS] + "…" * (len(ref.text) > WORDS)
    shown = picture(ref.image) if ref.image else None
    if shown:
        st.image(shown, width=WIDTH, alt=words or Path(ref.image).name)
    elif ref.image:
        name = escape(Path(ref.image).name)
        st.html(f'<blockquote class="pl-doc gone">{name}<br>cannot be shown</blockquote>')
    if words:
        st.html(f'<blockquote class="pl-doc">{escape(words)}</blockquote>')
    if right:
        st.html('<p class="pl-small pl-right">✓ right</p>')


def picture(path: str) -> bytes | None:
    """A small JPEG of the picture at `path`; None where it is none."""
    return _picture(file_path(path), stamp(Path(file_path(path))))


@lru_cache(maxsize=512)
def _picture(path: str, changed: tuple[int, int]) -> bytes | None:
    limits = Limits(settings().max_bytes, settings().max_pixels)
    try:
        image = decode(read(path, limits), side=SIDE, limits=limits).image
    except Undecodable:
        return None
    image.thumbnail((2 * SIDE, 2 * SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
