"""The Search page: the search box, a chip for each part of the query, the filters and the hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import PurePath

import streamlit as st

from app import state, votes
from app.media import save_upload, thumbnail_url, upload_url
from app.services import get_settings, list_names, open_searcher
from app.state import EMPTY, PAGE_SIZES, Search
from app.views import gallery
from app.views.messages import show_error
from embedder.escaping import escape_markdown
from indexer.errors import QueryError
from indexer.search.explanation import format_removed
from indexer.search.filter_syntax import format_filters
from indexer.search.query_syntax import UPLOAD_PREFIX, format_term
from indexer.search.searcher import Searcher
from indexer.types import MATCH_WORDS, FieldFilter, QueryTerm, SearchResults

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_LABEL = 28  # characters of a chip
MAX_FACET_VALUES = 12
UPLOAD_TYPES = ["jpg", "jpeg", "png", "webp", "gif", "avif", "heic", "heif", "tif", "tiff", "bmp"]
FACET_TITLES = {
    "kind": "Kind",
    "folder": "Folder",
    "year": "Year",
    "languages": "Caption language",
    "tags": "Tag",
    "camera": "Camera",
    "format": "Format",
}


def show() -> None:
    """Show the page that the address describes."""
    names = list_names()
    if not names:
        _show_welcome()
        return
    search = state.read_url()
    if search.collection not in names:
        configured = get_settings().collection
        search = replace(search, collection=configured if configured in names else names[0])
    with st.container(key="hero"):
        if not search.terms:
            st.html('<h1 class="pl-title">What are you looking for?</h1>')
        _show_search_box(search)
        _show_chips(search)
    searcher = open_searcher(search.collection)
    try:
        _show_sidebar(search, names, searcher)
        with st.spinner("Searching…", show_time=False):
            results = searcher.search(search.to_query())
    except QueryError as error:
        show_error(error)
        _offer_clearing(search)
        return
    _show_results(search, results, searcher)
    if search.terms:
        votes.handle_votes(search)
    if search.open_id:
        gallery.show_dialog(search, searcher)


def _show_search_box(search: Search) -> None:
    """Show the box for text and images, which may be typed, dropped or pasted."""
    given = st.chat_input(
        "Describe it in any language, or drop a picture here",
        accept_file=True,
        file_type=UPLOAD_TYPES,
        key="box",
    )
    if not given:
        return
    try:
        uploads = (save_upload(file.getvalue()) for file in given.files)
        images = (QueryTerm(image=UPLOAD_PREFIX + name) for name in uploads)
        search = search.add_terms(*images, *state.parse_typed(given.text))
    except QueryError as error:
        show_error(error)
        return
    state.navigate(search)


def _show_chips(search: Search) -> None:
    """Show a chip for each part of the query."""
    if not search.terms:
        return
    with st.container(horizontal=True, key="pieces", gap="small"):
        for index, term in enumerate(search.terms):
            _show_chip(search, index, term)
        if st.button("Clear", type="tertiary", icon=":material/close:", key="clear"):
            state.navigate(Search(collection=search.collection))


def _show_chip(search: Search, index: int, term: QueryTerm) -> None:
    with st.popover(_label(term), key=f"piece-{index}", width="content"):
        if term.text:
            st.markdown(f"**{escape_markdown(term.text)}**")
        else:
            if term.image:
                url = upload_url(term.image.removeprefix(UPLOAD_PREFIX))
            else:
                url = thumbnail_url(search.collection, term.id or "")
            st.html(f'<img class="pl-piece" src="{url}" alt="">')
        key = f"{index}-{format_term(term)}"
        size = abs(term.weight)
        weights = sorted({*WEIGHTS, size})
        chosen = st.select_slider("Weight", weights, value=size, key=f"weight-{key}")
        negative = st.toggle("Not like this", value=term.weight < 0, key=f"not-{key}")
        if (chosen, negative) != (size, term.weight < 0):
            weight = -float(chosen) if negative else float(chosen)
            state.navigate(search.replace_term(index, replace(term, weight=weight)))
        if st.button("Remove", icon=":material/delete:", key=f"remove-{key}"):
            state.navigate(search.replace_term(index))


def _label(term: QueryTerm) -> str:
    sign = "not " if term.weight < 0 else ""
    times = "" if abs(term.weight) == 1 else f" ×{abs(term.weight):g}"
    if not term.text:
        return f":material/image: {sign}this picture{times}"
    text = term.text if len(term.text) <= MAX_LABEL else term.text[: MAX_LABEL - 1] + "…"
    return f"{sign}{escape_markdown(text)}{times}"


def _show_sidebar(search: Search, names: list[str], searcher: Searcher) -> None:
    """Show the collection, the filters, and how to show the hits; a change is a new search."""
    with st.sidebar:
        if len(names) > 1:
            chosen = st.selectbox("Collection", names, index=names.index(search.collection))
            if chosen != search.collection:
                portable = tuple(term for term in search.terms if term.id is None)
                state.navigate(Search(collection=chosen, terms=portable))
        _show_filters(search, searcher)
        _show_display_options(search)


def _show_filters(search: Search, searcher: Searcher) -> None:
    facets = searcher.facets(search.filters, MAX_FACET_VALUES)
    for key, title in FACET_TITLES.items():
        counts = dict(facets.get(key, []))
        wanted = search.filters.get(key, EMPTY)
        if len(counts) < 2 and not wanted.any_of:
            continue
        options = list(dict.fromkeys([*counts, *wanted.any_of]))
        names = {value: _name_folder(value, options) for value in options if key == "folder"}
        picked = st.pills(
            title,
            options,
            selection_mode="multi",
            default=wanted.any_of,
            format_func=partial(_format_option, names, counts),
            key=f"facet-{key}-{wanted.any_of}",
        )
        if set(picked) != set(wanted.any_of):
            state.navigate(search.with_filter(key, replace(wanted, any_of=tuple(picked))))
    _show_other_filters(search)


def _name_folder(folder: str, folders: Sequence[str]) -> str:
    """The last parts of its path, as many as tell it from the others: Streamlit knows an option by
    its label."""
    parts = PurePath(folder).parts
    for length in range(1, len(parts)):
        name = "/".join(parts[-length:])
        if not any(other != folder and f"/{other}".endswith(f"/{name}") for other in folders):
            return name
    return folder


def _format_option(names: Mapping[str, str], counts: Mapping[str, int], value: str) -> str:
    return f"{escape_markdown(names.get(value, value))} {counts.get(value, 0)}"


def _show_other_filters(search: Search) -> None:
    """Show the filters of the address that no facet shows, so that they can be removed."""
    parts = {
        (key, side): format_filters({key: FieldFilter(**{side: values})})[0]
        for key, wanted in search.filters.items()
        for side, values in (("any_of", wanted.any_of), ("none_of", wanted.none_of))
        if values and not (side == "any_of" and key in FACET_TITLES)
    }
    if not parts:
        return
    kept = st.pills(
        "Other filters",
        list(parts),
        selection_mode="multi",
        default=list(parts),
        format_func=lambda part: escape_markdown(parts[part]),
        key=f"other-filters-{parts}",
    )
    for key, side in parts.keys() - set(kept):
        without: dict[str, tuple[str, ...]] = {side: ()}
        state.navigate(search.with_filter(key, replace(search.filters[key], **without)))


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
    least = st.segmented_control(
        "Matches",
        ("", *reversed(MATCH_WORDS)),
        default=search.least,
        format_func=lambda word: word.capitalize() or "All",
        key=f"least-{search.least}",
        help="Leave out weaker matches, where it is known how strong they are.",
    )
    size = st.segmented_control(
        "Results a page", PAGE_SIZES, default=search.size, key=f"size-{search.size}"
    )
    changed = replace(
        search,
        fold=fold,
        diversity=float(diversity),
        least=search.least if least is None else least,
        size=size or search.size,
    )
    if changed != search:
        state.navigate(replace(changed, page=1))


def _show_results(search: Search, results: SearchResults, searcher: Searcher) -> None:
    if not results.hits:
        _show_no_results(search, results, searcher)
        return
    if results.hint:
        st.html(f'<div class="pl-note">{escape(results.hint, quote=False)}</div>')
    if search.terms and all(term.weight < 0 for term in search.terms):
        st.html(
            '<div class="pl-note"><b>Everything but that.</b> '
            "Say what to look for, too, to see the best first.</div>"
        )
    elif results.matches is False:
        st.html(
            '<div class="pl-note"><b>Nothing here really matches.</b> These are the closest.</div>'
        )
    if removed := format_removed(results.hits[0].explanation):
        st.html(f'<div class="pl-note">{escape(removed, quote=False)}</div>')
    leading = results.num_leading if results.matches else len(results)
    if leading:
        gallery.show_gallery(search, results.hits[:leading])
    if leading < len(results):
        st.html('<div class="pl-note">Less likely</div>')
        gallery.show_gallery(search, results.hits[leading:], "tail")
    _show_pagination(search, results)


def _show_pagination(search: Search, results: SearchResults) -> None:
    """Show the pages that are known: up to this one, and the next if there is one."""
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
            '<p class="pl-lead">Polylens reads the pictures in a folder once, on this machine. '
            "Then you search them in your own words, in any language, or with a picture.</p>"
        )
        if st.button("Choose a folder", type="primary", icon=":material/create_new_folder:"):
            st.switch_page(st.session_state["pages"]["library"])
        st.html("<p class='pl-lead'>or type <code>indexer ingest FOLDER</code></p>")


def _show_no_results(search: Search, results: SearchResults, searcher: Searcher) -> None:
    if searcher.collection.store.count() == 0:
        st.html('<div class="pl-note">This collection is empty: add a folder in the Library.</div>')
        return
    if search.page > 1:
        st.html(f'<div class="pl-note">There is no page {search.page}.</div>')
        if st.button("Show the first page", icon=":material/first_page:"):
            state.navigate(replace(search, page=1))
        return
    hint = escape(results.hint, quote=False)
    if search.least and not results.hint:
        st.html(f'<div class="pl-note"><b>No {search.least} match.</b></div>')
        if st.button("Show weaker ones", icon=":material/expand_more:"):
            state.navigate(replace(search, least="", page=1))
        return
    st.html(f'<div class="pl-note"><b>Nothing matches</b> these filters. {hint}</div>')
    _offer_clearing(search)


def _offer_clearing(search: Search) -> None:
    if search.filters and st.button("Clear the filters", icon=":material/filter_alt_off:"):
        state.navigate(replace(search, filters={}, page=1))
