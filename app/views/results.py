"""The results of a search, as the component that shows them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import streamlit as st

from app import components, results, state, votes
from app.results import Page
from app.state import Search
from app.views.messages import keep_error
from indexer.errors import QueryError
from indexer.search.query_syntax import format_terms

KEY = "results"  # of the component, in the session state
FOCUS_KEY = "focus-box"  # in the session state: how often the box was to get the focus
ORDERS = (
    ("strength", "Best match"),
    ("newest", "Newest first"),
    ("oldest", "Oldest first"),
    ("added", "Last added"),
    ("name", "Name"),
)
_component = components.make_component("results")


def show_results(search: Search, page: Page, status: str) -> None:
    """Show the hits, of which the browser asks for more as it needs them.

    Args:
        search: What they were found by.
        page: The first of them.
        status: How many there are, for people; `{n}` stands for those that are shown.
    """
    _component(
        key=KEY,
        data={
            "collection": search.collection,
            "query": format_terms(search.terms),
            "address": search.address,
            "page": page.to_json(),
            "status": status,
            "has_words": any(term.text and term.weight > 0 for term in search.terms),
            "readings": results.list_readings(search),
            "order": search.order,
            "orders": ORDERS if search.terms else ORDERS[1:],
            "votes": votes.HELP if search.terms else "",
            "open": search.open_id,
            "reranker": results.find_reranker(search) if search.rerank else "",
        },
        on_search_change=partial(_take_search, search),
        on_refresh_change=lambda: None,  # it runs the page again, for the filters
    )


def _take_search(search: Search) -> None:
    """Write what is searched for from a result into the address, before the page is run for it."""
    wanted = st.session_state[KEY].search
    if "sort" in wanted:
        state.write_url(replace(search, sort=state.parse_order(wanted["sort"])))
        return
    try:
        terms = state.parse_typed(wanted["query"])
    except QueryError as error:
        keep_error(error)
        return
    if wanted.get("focus"):
        st.session_state[FOCUS_KEY] = st.session_state.get(FOCUS_KEY, 0) + 1
    state.write_url(search.with_terms(terms))
