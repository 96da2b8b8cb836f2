"""Thumbs up and down on each hit, as plain buttons in the HTML of the cards.

Streamlit widgets on 96 cards would make the page slower by a third. Instead one invisible component
reports which of the buttons was pressed.
"""

from __future__ import annotations

from hashlib import blake2b
from html import escape

import streamlit as st

from app import votes
from app.services import open_collection
from app.state import Search
from indexer.errors import IndexerError

LABELS = {1: "Thumbs up", -1: "Thumbs down"}
HELP = "Stored on this machine, with the collection; a model can be trained on it (page Quality)."
JS = """
let number = Date.now();
const presses = [];
export default function ({ setTriggerValue }) {
  const press = (event) => {
    const button = event.target.closest("[data-vote]");
    if (!button) return;
    const { id, asked } = button.parentElement.dataset;
    const vote = button.getAttribute("aria-pressed") === "true" ? 0 : Number(button.dataset.vote);
    for (const thumb of document.querySelectorAll(`.pl-thumbs[data-id="${id}"] [data-vote]`))
      thumb.setAttribute("aria-pressed", Number(thumb.dataset.vote) === vote);
    presses.push({ number: ++number, id, asked, vote });
    setTriggerValue("presses", presses.slice(-100));
  };
  document.addEventListener("click", press);
  document.documentElement.classList.add("pl-listening");
  return () => document.removeEventListener("click", press);
}
"""
LAST_PRESS_KEY, SEARCHES_KEY = "thumbs-seen", "thumbs-asked"  # in the session state
_component = st.components.v2.component("polylens_thumbs", js=JS)


def render_buttons(search: Search, id: str, vote: int) -> str:
    """The two buttons of a hit as HTML, the one of `vote` pressed."""
    return (
        f'<span class="pl-thumbs" data-id="{escape(id, quote=True)}" '
        f'data-asked="{_search_key(search)}">'
        f"{_render_button(1, vote)}{_render_button(-1, vote)}</span>"
    )


@st.fragment
def handle_votes(search: Search) -> None:
    """Record the votes, without running the page again.

    While the page runs, a later press replaces an earlier one. So each press comes with the earlier
    ones and with its search, and is recorded once.
    """
    searches = st.session_state.setdefault(SEARCHES_KEY, {})
    searches[_search_key(search)] = search
    last = st.session_state.get(LAST_PRESS_KEY, 0)
    for press in _component(key="thumbs", on_presses_change=lambda: None).presses or ():
        if press["number"] > last and press["asked"] in searches and press["vote"] in {-1, 0, 1}:
            _record(searches[press["asked"]], str(press["id"]), press["vote"])
            st.session_state[LAST_PRESS_KEY] = press["number"]


def _record(search: Search, id: str, vote: int) -> None:
    try:
        for record in open_collection(search.collection).collection.store.retrieve([id]):
            votes.record_vote(search, record, vote)
    except IndexerError as error:
        st.toast(str(error), icon=":material/error:")


def _search_key(search: Search) -> str:
    """A short key of the query."""
    query = (search.collection, search.chips, search.filters)
    return blake2b(repr(query).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _render_button(value: int, vote: int) -> str:
    pressed = "true" if value == vote else "false"
    return (
        f'<button type="button" data-vote="{value}" aria-pressed="{pressed}" '
        f'aria-label="{LABELS[value]}" title="{LABELS[value]}. {HELP}"></button>'
    )
