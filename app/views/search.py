"""The Search page: the search box, a chip for each part of the query, the filters and the hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import PurePath
from urllib.parse import parse_qs

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import components, rankings, results, state
from app.facets import change_filters
from app.media import thumbnail_url, upload_url
from app.saved_searches import describe_search
from app.services import MAX_FACET_VALUES, get_settings, list_facets, list_names, open_searcher
from app.state import Search
from app.views.messages import keep_error, show_error, show_kept_error
from app.views.results import FOCUS_KEY, show_results
from embedder.escaping import escape_markdown
from indexer.errors import QueryError
from indexer.search.explanation import format_removed
from indexer.search.query_syntax import UPLOAD_PREFIX, format_term, format_terms
from indexer.search.searcher import Searcher
from indexer.types import MATCH_WORDS, FieldFilter, QueryTerm, SearchResults

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_LABEL = 28  # characters of a chip
BOX_KEY, FACETS_KEY = "box", "facets"  # of the components, in the session state
PLACEHOLDER = "Describe it in any language, or drop a picture anywhere"

_search_box = components.make_component("searchbox")
_facets = components.make_component("facets")


def show() -> None:
    """Show the page that the address describes."""
    names = list_names()
    if not names:
        _show_welcome()
        return
    search = state.read_url()
    if search.collection not in names:
        if search.collection:
            _show_missing(search, names)
            return
        configured = get_settings().collection
        search = replace(search, collection=configured if configured in names else names[0])
    searcher = open_searcher(search.collection)
    if not search.terms:
        st.html('<h1 class="pl-title">What are you looking for?</h1>')
    with st.container(key="hero"):
        _show_search_box(search, searcher)
        _show_chips(search)
    show_kept_error()
    filters = _show_sidebar(search, names)
    ranking = rankings.make_ranking_name()  # the counts of the filters are of the same list
    try:
        page = results.load_page(search, ranking=ranking)
    except QueryError as error:
        show_error(error)
        _offer_clearing(search)
    else:
        _show_page(search, page, searcher)
    with filters:  # last, so that the results do not wait for the counts
        _show_filters(search, ranking)


def _show_page(search: Search, page: results.Page, searcher: Searcher) -> None:
    if page.hits:
        _show_notes(search, page.results)
        count = None if search.terms else searcher.count(search.filters)
        show_results(search, page, results.describe_total(search, page, count))
    else:
        _show_no_results(search, page.results, searcher)


def _show_missing(search: Search, names: Sequence[str]) -> None:
    show_error(f"There is no collection {search.collection!r} any more.")
    for name in names:
        if st.button(f"Search {name}", icon=":material/photo_library:", key=f"other-{name}"):
            state.navigate(replace(search, collection=name))


def _show_search_box(search: Search, searcher: Searcher) -> None:
    """Show the box, which keeps the words of the search; a new search replaces them."""
    words = format_terms([term for term in search.terms if term.text])
    _search_box(
        key=BOX_KEY,
        data={
            "query": search.address,
            "words": words,
            "has_terms": bool(search.terms),
            "label": describe_search(search),
            "now": datetime.now(UTC).isoformat(timespec="seconds"),
            "placeholder": PLACEHOLDER,
            "adding": "And also…",
            "focus": st.session_state.get(FOCUS_KEY, 0),
            "suggestions": _suggest(searcher),
        },
        on_search_change=partial(_take_search, search),
    )


def _take_search(search: Search) -> None:
    """Write the search that was typed into the address, before the page is run for it."""
    given = st.session_state[BOX_KEY].search
    if "address" in given:
        saved = parse_qs(given["address"])
        state.write_url(state.parse_params(lambda key: saved.get(key, [])))
        return
    if "filter" in given:
        key, value = given["filter"]
        filtered = replace(search, filters={key: FieldFilter((value,))})
        state.write_url(filtered.with_terms(()))
        return
    images = [QueryTerm(image=UPLOAD_PREFIX + name) for name in given.get("images", ())]
    try:
        typed = state.parse_typed(given["words"])
    except QueryError as error:
        keep_error(error)
        return
    if given["mode"] == "add":
        kept = search.terms
    else:  # the pictures of the search have chips of their own
        kept = tuple(term for term in search.terms if not term.text)
    state.write_url(search.with_terms((*kept, *images, *typed)))


def _suggest(searcher: Searcher) -> list[dict[str, object]]:
    """Tags and folders of the collection, which the box offers as they are typed."""
    facets = list_facets({}, searcher)
    return [
        {
            "text": value if key == "tags" else PurePath(value).name,
            "kind": title,
            "filter": [key, value],
        }
        for key, title in (("tags", "tag"), ("folder", "folder"))
        for value, _ in facets.get(key, [])[:MAX_FACET_VALUES]
    ]


def _show_chips(search: Search) -> None:
    """Show a chip for each part of the query; words alone are in the box."""
    if all(term.text and term.weight == 1 for term in search.terms) and len(search.terms) < 2:
        return
    with st.container(horizontal=True, key="pieces", gap="small"):
        for index, term in enumerate(search.terms):
            _show_chip(search, index, term)
        if st.button("Clear", type="tertiary", icon=":material/close:", key="clear"):
            state.navigate(Search(collection=search.collection))


def _show_chip(search: Search, index: int, term: QueryTerm) -> None:
    url = _find_picture(search, term)
    with st.popover(_label(term, url), key=f"piece-{index}", width="content"):
        if url:
            st.html(f'<img class="pl-piece" src="{url}" alt="">')
        else:
            st.markdown(f"**{escape_markdown(term.content)}**")
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


def _find_picture(search: Search, term: QueryTerm) -> str:
    """The URL of the picture that a term stands for; "" for words."""
    if term.image:
        return upload_url(term.image.removeprefix(UPLOAD_PREFIX))
    return thumbnail_url(search.collection, term.id) if term.id else ""


def _label(term: QueryTerm, picture: str) -> str:
    sign = "not " if term.weight < 0 else ""
    times = "" if abs(term.weight) == 1 else f" ×{abs(term.weight):g}"
    if picture:
        return f"{sign}![this picture]({picture}){times}"
    text = term.content
    if len(text) > MAX_LABEL:
        text = text[: MAX_LABEL - 1] + "…"
    return f"{sign}{escape_markdown(text)}{times}"


def _show_sidebar(search: Search, names: list[str]) -> DeltaGenerator:
    """Show the collection and how to show the hits; a change is a new search.

    Returns the place of the filters.
    """
    with st.sidebar:
        if len(names) > 1:
            chosen = st.selectbox("Collection", names, index=names.index(search.collection))
            if chosen != search.collection:
                portable = tuple(term for term in search.terms if term.id is None)
                state.navigate(Search(collection=chosen, terms=portable))
        filters = st.container()
        _show_display_options(search)
    return filters


def _show_filters(search: Search, ranking: str) -> None:
    _facets(
        key=FACETS_KEY,
        data={"address": search.address, "ranking": ranking},
        on_filter_change=partial(_take_filters, search),
    )


def _take_filters(search: Search) -> None:
    """Write the filters that were chosen into the address, before the page is run for them."""
    state.write_url(change_filters(search, st.session_state[FACETS_KEY].filter))


def _show_display_options(search: Search) -> None:
    st.divider()
    fold = st.toggle("Fold near-duplicates", value=search.fold, key=f"fold-{search.fold}")
    diversity = search.diversity
    if search.order == "strength":  # in any other order it would change nothing
        diversity = st.slider(
            "Diversity",
            0.0,
            1.0,
            search.diversity,
            0.1,
            key=f"mix-{search.diversity}",
            help="Higher shows results that differ more from each other.",
        )
    least: str | None = search.least
    if search.terms:
        least = st.segmented_control(
            "Matches",
            ("", *reversed(MATCH_WORDS)),
            default=search.least,
            format_func=lambda word: word.capitalize() or "All",
            key=f"least-{search.least}",
            help="Leave out weaker matches, where it is known how strong they are.",
        )
    rerank = search.rerank
    if reranker := results.find_reranker(search):
        rerank = st.toggle(
            "Rerank",
            value=search.rerank,
            key=f"rerank-{search.rerank}",
            help=f"{escape_markdown(reranker)} reads each of the best results with the query, and "
            "puts them in its order.",
        )
    changed = replace(
        search,
        fold=fold,
        rerank=rerank,
        diversity=float(diversity),
        least=search.least if least is None else least,
    )
    if changed != search:
        state.navigate(changed)


def _show_notes(search: Search, found: SearchResults) -> None:
    """Say what is special about the results."""
    if found.hint:
        st.html(f'<div class="pl-note">{escape(found.hint, quote=False)}</div>')
    if search.terms and all(term.weight < 0 for term in search.terms):
        st.html(
            '<div class="pl-note"><b>Everything but that.</b> '
            "Say what to look for, too, to see the best first.</div>"
        )
    elif found.matches is False:
        st.html(
            '<div class="pl-note"><b>Nothing here really matches.</b> These are the closest.</div>'
        )
    if removed := format_removed(found.hits[0].explanation):
        st.html(f'<div class="pl-note">{escape(removed, quote=False)}</div>')


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


def _show_no_results(search: Search, found: SearchResults, searcher: Searcher) -> None:
    if searcher.collection.store.count() == 0:
        st.html('<div class="pl-note">This collection is empty: add a folder in the Library.</div>')
        return
    hint = escape(found.hint, quote=False)
    if search.least and not found.hint:
        st.html(f'<div class="pl-note"><b>No {search.least} match.</b></div>')
        if st.button("Show weaker ones", icon=":material/expand_more:"):
            state.navigate(replace(search, least=""))
        return
    st.html(f'<div class="pl-note"><b>Nothing matches</b> these filters. {hint}</div>')
    _offer_clearing(search)


def _offer_clearing(search: Search) -> None:
    if search.sort == "name" and st.button("Sort by date", icon=":material/calendar_month:"):
        state.navigate(replace(search, sort=None))
    if search.filters and st.button("Clear the filters", icon=":material/filter_alt_off:"):
        state.navigate(replace(search, filters={}))
