"""The worst queries: what was searched for, what is relevant, and what was found instead."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import streamlit as st

from app.caching import cache_by_file
from app.permissions import may_show
from app.runs import Result, find_hardest_ids, find_query_results
from app.services import get_decode_limits
from app.views.quality_comparison import format_direction, select_result
from embedder.images.decode import decode_image, read_file
from finetune.evaluation.report import AFTER, BEFORE, QUERIES, DocumentRef, QueryResult
from finetune.run_dir import RunInfo
from indexer.errors import UnusableFileError
from indexer.paths import resolve_display_path

QUERIES_PER_PAGE = 5
DOCUMENTS_SHOWN = 5  # of each query
WIDTH = 104  # pixels of an image on the page: three fit side by side on a phone
SIDE = 208  # of its shorter side: for screens with two pixels a dot
MAX_TEXT = 180  # characters of a text
MOST_FALLEN, HARDEST = "Fell most", "Hardest now"


def show(run: RunInfo) -> None:
    """Show the section; raises `DataError`."""
    result = select_result(run)
    if result is None:
        return
    file = (result.folder / AFTER if result.before else result.folder) / QUERIES
    ids = _select_queries(result, file)
    if not ids:
        st.html('<div class="pl-note">Every query finds a relevant document first.</div>')
        return
    after = find_query_results(file, ids)
    before = find_query_results(result.folder / BEFORE / QUERIES, ids) if result.before else {}
    for id in _paginate([id for id in ids if id in after], str(result.folder)):
        with st.container(border=True, key=f"query-{result.folder}-{id}"):
            _show_query(after[id], before.get(id))


def _select_queries(result: Result, file: Path) -> tuple[str, ...]:
    if not result.worst:
        if result.before:
            st.caption("No query ranks its first relevant document lower. These are the hardest.")
        return find_hardest_ids(file)
    kind = st.segmented_control(
        "Which queries",
        [MOST_FALLEN, HARDEST],
        default=MOST_FALLEN,
        required=True,
        key=f"worst-{result.folder}",
        label_visibility="collapsed",
    )
    return find_hardest_ids(file) if kind == HARDEST else result.worst


def _paginate(ids: Sequence[str], key: str) -> Sequence[str]:
    """One page of the queries."""
    pages = max(1, -(-len(ids) // QUERIES_PER_PAGE))
    page = 1
    if pages > 1:
        with st.container(horizontal=True, horizontal_alignment="center", key="worst-pages"):
            page = int(st.pagination(pages, key=f"worst-page-{key}-{ids[0]}"))
    return ids[(page - 1) * QUERIES_PER_PAGE : page * QUERIES_PER_PAGE]


def _show_query(after: QueryResult, before: QueryResult | None) -> None:
    ranks = " → ".join(
        "not found" if result.rank is None else f"place {result.rank:,}"
        for result in (before, after)
        if result
    )
    facts = " · ".join(filter(None, [format_direction(after.direction), after.language]))
    words = f"<h4>{escape(after.text)}</h4>" if after.text else ""
    st.html(f'<div class="pl-query">{words}<p>{escape(facts)} · <b>{escape(ranks)}</b></p></div>')
    with st.container(horizontal=True, gap="large"):
        if after.image:
            _show_documents("Asked with", [{"text": None, "image": after.image}])
        _show_documents("Should be found", after.relevant[:2])
        _show_documents("Was found", after.found[:DOCUMENTS_SHOWN], after.relevant)


def _show_documents(
    title: str, documents: Sequence[DocumentRef], relevant: Sequence[DocumentRef] = ()
) -> None:
    with st.container(width="content", gap="xsmall"):
        st.html(f'<p class="pl-small">{escape(title)}</p>')
        with st.container(horizontal=True, gap="xsmall"):
            for document in documents:
                with st.container(width=WIDTH, gap=None):
                    _show_document(document, is_relevant=document in relevant)


def _show_document(document: DocumentRef, *, is_relevant: bool) -> None:
    text, image = document["text"] or "", document["image"]
    words = text[:MAX_TEXT] + "…" * (len(text) > MAX_TEXT)
    file = resolve_display_path(image) if image else ""
    preview = make_preview(Path(file)) if file and may_show(file) else None
    if preview:
        st.image(preview, width=WIDTH, alt=words or Path(image or "").name)
    elif image:
        name = escape(Path(image).name)
        st.html(f'<blockquote class="pl-doc gone">{name}<br>cannot be shown</blockquote>')
    if words:
        st.html(f'<blockquote class="pl-doc">{escape(words)}</blockquote>')
    if is_relevant:
        st.html('<p class="pl-small pl-right">✓ right</p>')


@cache_by_file(maxsize=512)
def make_preview(file: Path) -> bytes | None:
    """A small JPEG of the image in `file`; None where it cannot be shown."""
    limits = get_decode_limits()
    try:
        image = decode_image(read_file(str(file), limits), side=SIDE, limits=limits).image
    except UnusableFileError:
        return None
    image.thumbnail((2 * SIDE, 2 * SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
