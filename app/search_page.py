"""The Search page: the box, the parts of the search, the filters, and what was found."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import cards, detail, pieces, sidebar, state, thumbs, uploads
from app.resources import Opened, names, opened
from app.state import Search
from embedder import EmbedderError
from indexer.errors import IndexerError
from indexer.types import Results

TYPES = ["jpg", "jpeg", "png", "webp", "gif", "avif", "heic", "heif", "tif", "tiff", "bmp"]


def show() -> None:
    """The whole page, from the address; errors are told in a sentence."""
    try:
        found = names()
        if not found:
            _nothing_indexed()
            return
        _page(found)
    except (IndexerError, EmbedderError) as error:
        st.error(str(error), icon=":material/error:")


def _page(found: list[str]) -> None:
    search = state.read()
    if search.collection not in found:
        search = replace(search, collection="default" if "default" in found else found[0])
    with st.container(key="hero"):
        if not search.pieces:
            st.html('<h1 class="pl-title">What are you looking for?</h1>')
        _box(search)
        pieces.show(search)
    here = opened(search.collection)
    search = sidebar.show(search, found, here)
    results = _ask(here, search)
    _answer(search, results, here)
    if search.pieces:
        thumbs.listen(search)
    if search.opened:
        detail.show(search, here)


def _box(search: Search) -> None:
    """Words, a picture, or both; a picture may be dropped or pasted as well."""
    given = st.chat_input(
        "Describe it in any language, or drop a picture here",
        accept_file=True,
        file_type=TYPES,
        key="box",
    )
    if not given:
        return
    text = given if isinstance(given, str) else given.text
    for file in [] if isinstance(given, str) else given.files:
        search = search.with_piece(state.Piece(f"img:{uploads.keep(file.getvalue())}"))
    if text and text.strip():
        search = search.with_piece(state.typed(text.strip()))
    state.go(search)


def _ask(here: Opened, search: Search) -> Results:
    with st.spinner("Searching…", show_time=False):
        return here.searcher.search(search.query())


def _answer(search: Search, results: Results, here: Opened) -> None:
    if not results.hits:
        _nothing_found(search, here)
        return
    if search.pieces and not results.matches:
        st.html(
            '<div class="pl-note"><b>Nothing here really matches.</b> '
            "These are the closest, such as they are.</div>"
        )
    cards.gallery(search, results.hits)
    _pages(search, results)


def _pages(search: Search, results: Results) -> None:
    """Pages as far as is known: the one after this exists or it does not."""
    known = search.page + results.more
    if known == 1:
        return
    with st.container(horizontal=True, horizontal_alignment="center", key="pages"):
        key = f"page-{search.page}-{known}"
        chosen = st.pagination(known, default=min(search.page, known), key=key)
    if chosen != search.page:
        state.go(replace(search, page=int(chosen)))


def _nothing_indexed() -> None:
    with st.container(key="empty", horizontal_alignment="center"):
        st.html(
            '<h1 class="pl-title">Your pictures, found by what they show.</h1>'
            '<p class="pl-lead">Polylens looks at the pictures in a folder once, on this machine. '
            "Then you search them in your own words, in any language, or with a picture.</p>"
        )
        if st.button("Choose a folder", type="primary", icon=":material/create_new_folder:"):
            st.switch_page(st.session_state["pages"]["library"])
        st.html("<p class='pl-lead'>or type <code>indexer ingest FOLDER</code></p>")


def _nothing_found(search: Search, here: Opened) -> None:
    if here.collection.store.count() == 0:
        st.html('<div class="pl-note">This collection is empty: add a folder in the Library.</div>')
        return
    st.html('<div class="pl-note"><b>Nothing is left</b> under these filters.</div>')
    if st.button("Take the filters away", icon=":material/filter_alt_off:"):
        state.go(replace(search, filters=(), page=1))
