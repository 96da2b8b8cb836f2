"""Votes on the hits of a search: stored with the collection, cast with thumbs on each hit.

The thumbs are plain buttons in the HTML of the cards: Streamlit widgets on 96 cards would make the
page slower by a third. Instead one invisible component reports which of them was pressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from html import escape
from pathlib import Path

import streamlit as st

from app.caching import cache_by_file
from app.media import UPLOAD_IS_GONE, find_upload
from app.services import local_dir, open_searcher
from app.state import Search
from embedder.escaping import escape_markdown
from indexer import feedback
from indexer.errors import IndexerError, QueryError, StoreError
from indexer.feedback import Vote, VotedQuery
from indexer.paths import resolve_display_path
from indexer.search.query_syntax import UPLOAD_PREFIX
from indexer.types import QueryTerm, Record

LABELS = {1: "Thumbs up", -1: "Thumbs down"}
HELP = "Stored on this machine, with the collection; a model can be trained on it (page Quality)."
JS = """
let number = Date.now();
const presses = [];
export default function ({ setTriggerValue }) {
  const press = (event) => {
    const button = event.target.closest("[data-vote]");
    if (!button) return;
    const { id, query } = button.parentElement.dataset;
    const vote = button.getAttribute("aria-pressed") === "true" ? 0 : Number(button.dataset.vote);
    for (const thumb of document.querySelectorAll(`.pl-thumbs[data-id="${id}"] [data-vote]`))
      thumb.setAttribute("aria-pressed", Number(thumb.dataset.vote) === vote);
    presses.push({ number: ++number, id, query, vote });
    setTriggerValue("presses", presses.slice(-100));
  };
  document.addEventListener("click", press);
  document.documentElement.classList.add("pl-listening");
  return () => document.removeEventListener("click", press);
}
"""
MAX_SEARCHES = 100  # of a session, for which a late press counts
LAST_PRESS_KEY, SEARCHES_KEY = "last-press", "voted-searches"  # in the session state
_component = st.components.v2.component("polylens_thumbs", js=JS)


def load_votes(search: Search) -> Mapping[str, int]:
    """1 or -1 for each point with a vote for this search; empty where votes cannot be read."""
    folder = local_dir(search.collection)
    parts = frozenset(
        # an image is compared with the collection's own copy of it
        replace(part, image=str(feedback.locate_image_copy(folder, Path(part.image))))
        if part.image
        else part
        for part in map(_to_voted_term, search.terms)
    )
    with suppress(StoreError):
        return _read_by_query(folder / feedback.VOTES_FILE).get(parts, {})
    return {}


def count_votes(collection: str) -> tuple[int, int]:
    """How many thumbs up and down the collection has; raises `StoreError`."""
    by_query = _read_by_query(local_dir(collection) / feedback.VOTES_FILE)
    votes = [vote for by_id in by_query.values() for vote in by_id.values()]
    return votes.count(1), votes.count(-1)


@cache_by_file(maxsize=8)
def _read_by_query(file: Path) -> dict[frozenset[QueryTerm], dict[str, int]]:
    """All votes of a collection: the query -> a point's id -> its vote."""
    by_query: dict[frozenset[QueryTerm], dict[str, int]] = {}
    for vote in feedback.read_votes(file.parent):
        by_query.setdefault(vote.query.key, {})[vote.id] = vote.vote
    return by_query


def record_vote(search: Search, record: Record, vote: int) -> None:
    """Record a vote on a hit; 0 removes it. Raises `StoreError`, `QueryError`."""
    payload = record.payload
    is_text = payload["kind"] == "text"
    new = Vote(
        query=VotedQuery(tuple(map(_to_voted_term, search.terms)), search.filters),
        id=record.id,
        content=str(payload["content"]),
        vote=vote,
        path=None if is_text else resolve_display_path(payload["paths"][0]),
        text=payload["text"] if is_text else None,
    )
    feedback.record_vote(local_dir(search.collection), new)


def _to_voted_term(term: QueryTerm) -> QueryTerm:
    """`term` with the path of its image."""
    if term.image is None:
        return term
    path = find_upload(term.image.removeprefix(UPLOAD_PREFIX))
    if path is None:
        raise QueryError(UPLOAD_IS_GONE)
    return replace(term, image=str(path))


def render_buttons(search: Search, id: str, vote: int) -> str:
    """The two buttons of a hit as HTML, the one of `vote` pressed."""
    buttons = "".join(
        f'<button type="button" data-vote="{value}" '
        f'aria-pressed="{"true" if value == vote else "false"}" '
        f'aria-label="{label}" title="{label}. {HELP}"></button>'
        for value, label in LABELS.items()
    )
    return (
        f'<span class="pl-thumbs" data-id="{escape(id, quote=True)}" '
        f'data-query="{_search_key(search)}">{buttons}</span>'
    )


@st.fragment
def handle_votes(search: Search) -> None:
    """Record the votes, without running the page again.

    While the page runs, a later press replaces an earlier one. So each press comes with the earlier
    ones and with its search, and is recorded once.
    """
    searches = st.session_state.setdefault(SEARCHES_KEY, {})
    searches[_search_key(search)] = search
    for key in list(searches)[:-MAX_SEARCHES]:
        del searches[key]
    last = st.session_state.get(LAST_PRESS_KEY, 0)
    for press in _component(key="thumbs", on_presses_change=lambda: None).presses or ():
        if press["number"] > last and press["query"] in searches and press["vote"] in {-1, 0, 1}:
            _record(searches[press["query"]], str(press["id"]), press["vote"])
            st.session_state[LAST_PRESS_KEY] = press["number"]


def _record(search: Search, id: str, vote: int) -> None:
    try:
        for record in open_searcher(search.collection).collection.store.retrieve([id]):
            record_vote(search, record, vote)
    except IndexerError as error:
        st.toast(escape_markdown(str(error)), icon=":material/error:")


def _search_key(search: Search) -> str:
    """A short key of the query."""
    query = (search.collection, search.terms, search.filters)
    return blake2b(repr(query).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
