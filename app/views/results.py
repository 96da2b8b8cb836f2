"""The results of a search, as the component that shows them."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import components, state, votes
from app.results import Page
from app.state import Search
from app.views.messages import show_error
from indexer.errors import QueryError
from indexer.search.query_syntax import format_terms

FOCUS_KEY = "focus-box"  # in the session state: how often the box was to get the focus
_component = components.make_component("results")


def show_results(search: Search, page: Page, status: str) -> None:
    """Show the hits, of which the browser asks for more as it needs them.

    Args:
        search: What they were found by.
        page: The first of them.
        status: How many there are, for people.
    """
    shown = _component(
        key="results",
        data={
            "collection": search.collection,
            "query": format_terms(search.terms),
            "address": search.address,
            "page": page.to_json(),
            "status": status,
            "votes": votes.HELP if search.terms else "",
            "open": search.open_id,
        },
        on_search_change=lambda: None,
        on_refresh_change=lambda: None,  # it runs the page again, for the filters
    )
    wanted = shown.search
    if not wanted:
        return
    try:
        terms = state.parse_typed(wanted["query"])
    except QueryError as error:
        show_error(error)
        return
    if wanted.get("focus"):
        st.session_state[FOCUS_KEY] = st.session_state.get(FOCUS_KEY, 0) + 1
    state.navigate(replace(search, terms=terms))
