"""The Search page: the box, the parts of the search, the filters, and what was found."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import state, uploads
from app.components import gallery, query_chips, result_dialog, sidebar, vote_buttons
from app.services import CollectionSession, list_names, open_collection
from app.state import Search
from embedder import EmbedderError
from indexer.errors import IndexerError
from indexer.types import SearchResults

UPLOAD_TYPES = ["jpg", "jpeg", "png", "webp", "gif", "avif", "heic", "heif", "tif", "tiff", "bmp"]


def show() -> None:
    """The whole page, from the address; errors are told in a sentence."""
    try:
        found = list_names()
        if not found:
            _show_welcome()
            return
        _show_page(found)
    except (IndexerError, EmbedderError) as error:
        st.error(str(error), icon=":material/error:")


def _show_page(found: list[str]) -> None:
    search = state.read_url()
    if search.collection not in found:
        search = replace(search, collection="default" if "default" in found else found[0])
    with st.container(key="hero"):
        if not search.chips:
            st.html('<h1 class="pl-title">What are you looking for?</h1>')
        _show_search_box(search)
        query_chips.show(search)
    here = open_collection(search.collection)
    search = sidebar.show(search, found, here)
    results = _search(here, search)
    _show_results(search, results, here)
    if search.chips:
        vote_buttons.handle_votes(search)
    if search.open_id:
        result_dialog.show(search, here)


def _show_search_box(search: Search) -> None:
    """Words, a picture, or both; a picture may be dropped or pasted as well."""
    given = st.chat_input(
        "Describe it in any language, or drop a picture here",
        accept_file=True,
        file_type=UPLOAD_TYPES,
        key="box",
    )
    if not given:
        return
    text = given if isinstance(given, str) else given.text
    for file in [] if isinstance(given, str) else given.files:
        search = search.with_chip(state.QueryChip(f"img:{uploads.save_upload(file.getvalue())}"))
    if text and text.strip():
        search = search.with_chip(state.parse_typed(text.strip()))
    state.navigate(search)


def _search(here: CollectionSession, search: Search) -> SearchResults:
    with st.spinner("Searching…", show_time=False):
        return here.searcher.search(search.to_query())


def _show_results(search: Search, results: SearchResults, here: CollectionSession) -> None:
    if not results.hits:
        _show_no_results(search, here)
        return
    if search.chips and not results.is_significant:
        st.html(
            '<div class="pl-note"><b>Nothing here really matches.</b> '
            "These are the closest, such as they are.</div>"
        )
    gallery.show_gallery(search, results.hits)
    _show_pagination(search, results)


def _show_pagination(search: Search, results: SearchResults) -> None:
    """Pages as far as is known: the one after this exists or it does not."""
    known = search.page + results.has_more
    if known == 1:
        return
    with st.container(horizontal=True, horizontal_alignment="center", key="pages"):
        key = f"page-{search.page}-{known}"
        chosen = st.pagination(known, default=min(search.page, known), key=key)
    if chosen != search.page:
        state.navigate(replace(search, page=int(chosen)))


def _show_welcome() -> None:
    with st.container(key="empty", horizontal_alignment="center"):
        st.html(
            '<h1 class="pl-title">Your pictures, found by what they show.</h1>'
            '<p class="pl-lead">Polylens looks at the pictures in a folder once, on this machine. '
            "Then you search them in your own words, in any language, or with a picture.</p>"
        )
        if st.button("Choose a folder", type="primary", icon=":material/create_new_folder:"):
            st.switch_page(st.session_state["pages"]["library"])
        st.html("<p class='pl-lead'>or type <code>indexer ingest FOLDER</code></p>")


def _show_no_results(search: Search, here: CollectionSession) -> None:
    if here.collection.store.count() == 0:
        st.html('<div class="pl-note">This collection is empty: add a folder in the Library.</div>')
        return
    st.html('<div class="pl-note"><b>Nothing is left</b> under these filters.</div>')
    if st.button("Take the filters away", icon=":material/filter_alt_off:"):
        state.navigate(replace(search, filters=(), page=1))
