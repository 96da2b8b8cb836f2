"""Thumbs up and down on each hit, as plain buttons in the cards' HTML.

Widgets of Streamlit's on 96 cards would make the page slower by a third. So one component, which
shows nothing itself, tells which of the buttons was pressed.
"""

from __future__ import annotations

from html import escape

import streamlit as st

from app import votes
from app.resources import opened
from app.state import Search
from indexer.errors import IndexerError

NAMES = {1: "Thumbs up", -1: "Thumbs down"}
HELP = "Kept on this machine, with the collection; a model can be trained on it (page Quality)."
JS = """
export default function ({ setTriggerValue }) {
  const press = (event) => {
    const button = event.target.closest("[data-vote]");
    if (!button) return;
    const vote = button.getAttribute("aria-pressed") === "true" ? 0 : Number(button.dataset.vote);
    for (const thumb of document.querySelectorAll(`[data-vote][data-id="${button.dataset.id}"]`))
      thumb.setAttribute("aria-pressed", Number(thumb.dataset.vote) === vote);
    setTriggerValue("pressed", { id: button.dataset.id, vote });
  };
  document.addEventListener("click", press);
  return () => document.removeEventListener("click", press);
}
"""
_ears = st.components.v2.component("polylens_thumbs", js=JS)


def buttons(id: str, vote: int) -> str:
    """The thumbs of a hit as HTML, that of `vote` pressed."""
    return f'<span class="pl-thumbs">{_button(id, 1, vote)}{_button(id, -1, vote)}</span>'


@st.fragment
def listen(search: Search) -> None:
    """Keep what is pressed on the page, without running the page anew."""
    pressed = _ears(key="thumbs", on_pressed_change=lambda: None).pressed
    if pressed:
        _keep(search, str(pressed["id"]), int(pressed["vote"]))


def _keep(search: Search, id: str, vote: int) -> None:
    try:
        for record in opened(search.collection).collection.store.retrieve([id]):
            votes.cast(search, record, vote)
    except IndexerError as error:
        st.toast(str(error), icon=":material/error:")


def _button(id: str, value: int, vote: int) -> str:
    pressed = "true" if value == vote else "false"
    return (
        f'<button type="button" data-vote="{value}" data-id="{escape(id, quote=True)}" '
        f'aria-pressed="{pressed}" aria-label="{NAMES[value]}" title="{NAMES[value]}. {HELP}">'
        "</button>"
    )
