"""The worst queries: what was asked, what should have been found, and what was found instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path

import streamlit as st

from app.answers import Answer, Ref, answers, hardest
from app.metric_text import format_direction, format_rank
from app.results import Result, stamp
from app.runs import Run
from app.services import get_settings
from app.views.quality_comparison import select_result
from embedder.images.decode import DecodeLimits, decode_image, read_file
from indexer.paths import resolve_display_path
from indexer.skip_reasons import UnusableFileError

QUERIES_PER_PAGE = 5  # queries
DOCUMENTS_SHOWN = 5  # documents of each
WIDTH = 104  # pixels of a picture on the page: three abreast on a phone
SIDE = 208  # of its shorter side: for screens with two pixels a dot
MAX_TEXT = 180  # characters of a text
MOST_FALLEN, HARDEST = "Fell most", "Hardest now"


def show(run: Run) -> None:
    """The section; raises `DamagedError`."""
    result = select_result(run)
    if result is None:
        return
    ids = _select_queries(result)
    if not ids:
        st.html('<div class="pl-note">Every query finds a right answer first.</div>')
        return
    now = answers(result.after, ids)
    before = answers(result.before, ids) if result.before else {}
    for id in _paginate([id for id in ids if id in now], str(result.folder)):
        with st.container(border=True, key=f"query-{result.folder}-{id}"):
            _show_query(now[id], before)


def _select_queries(result: Result) -> tuple[str, ...]:
    if not result.worst:
        if result.before:
            st.caption("No query's first right answer fell. These are the hardest.")
        return hardest(result.after)
    kind = st.segmented_control(
        "Which queries",
        [MOST_FALLEN, HARDEST],
        default=MOST_FALLEN,
        required=True,
        key=f"worst-{result.folder}",
        label_visibility="collapsed",
    )
    return hardest(result.after) if kind == HARDEST else result.worst


def _paginate(ids: Sequence[str], key: str) -> Sequence[str]:
    """One page of the queries."""
    pages = max(1, -(-len(ids) // QUERIES_PER_PAGE))
    page = 1
    if pages > 1:
        with st.container(horizontal=True, horizontal_alignment="center", key="worst-pages"):
            page = int(st.pagination(pages, key=f"worst-page-{key}-{ids[0]}"))
    return ids[(page - 1) * QUERIES_PER_PAGE : page * QUERIES_PER_PAGE]


def _show_query(answer: Answer, before: Mapping[str, Answer]) -> None:
    was = before.get(answer.id)
    told = " → ".join(format_rank(one.rank) for one in (was, answer) if one)
    facts = " · ".join(filter(None, [format_direction(answer.direction), answer.language]))
    words = f"<h4>{escape(answer.query.text)}</h4>" if answer.query.text else ""
    st.html(f'<div class="pl-query">{words}<p>{escape(facts)} · <b>{escape(told)}</b></p></div>')
    with st.container(horizontal=True, gap="large"):
        if answer.query.image:
            _show_documents("Asked with", [Ref("", answer.query.image)], answer)
        _show_documents("Should be found", answer.relevant[:2], answer)
        _show_documents("Was found", answer.found[:DOCUMENTS_SHOWN], answer)


def _show_documents(title: str, refs: Sequence[Ref], answer: Answer) -> None:
    with st.container(width="content", gap="xsmall"):
        st.html(f'<p class="pl-small">{escape(title)}</p>')
        with st.container(horizontal=True, gap="xsmall"):
            for ref in refs:
                with st.container(width=WIDTH, gap=None):
                    _show_document(ref, right=title == "Was found" and ref in answer.relevant)


def _show_document(ref: Ref, right: bool) -> None:
    words = ref.text[:MAX_TEXT] + "…" * (len(ref.text) > MAX_TEXT)
    shown = make_preview(ref.image) if ref.image else None
    if shown:
        st.image(shown, width=WIDTH, alt=words or Path(ref.image).name)
    elif ref.image:
        name = escape(Path(ref.image).name)
        st.html(f'<blockquote class="pl-doc gone">{name}<br>cannot be shown</blockquote>')
    if words:
        st.html(f'<blockquote class="pl-doc">{escape(words)}</blockquote>')
    if right:
        st.html('<p class="pl-small pl-right">✓ right</p>')


def make_preview(path: str) -> bytes | None:
    """A small JPEG of the picture at `path`; None where it is none."""
    return _make_preview(resolve_display_path(path), stamp(Path(resolve_display_path(path))))


@lru_cache(maxsize=512)
def _make_preview(path: str, changed: tuple[int, int]) -> bytes | None:
    limits = DecodeLimits(get_settings().max_bytes, get_settings().max_pixels)
    try:
        image = decode_image(read_file(path, limits), side=SIDE, limits=limits).image
    except UnusableFileError:
        return None
    image.thumbnail((2 * SIDE, 2 * SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
