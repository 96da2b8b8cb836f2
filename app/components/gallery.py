"""The gallery: one card a hit, its picture by URL."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from html import escape

import streamlit as st

from app import state, votes
from app.components import vote_buttons
from app.media import thumbnail_url
from app.state import Search
from indexer.types import Hit, Payload

EXCERPT_LENGTH = 260  # characters of a text


def show_gallery(search: Search, hits: Sequence[Hit]) -> None:
    """The cards in a grid that follows the width of the window; hits of a search have thumbs."""
    voted = votes.load_votes(search) if search.chips else {}
    with st.grid("auto", min_column_width=170, gap="medium", key="gallery"):
        for hit in hits:
            with st.container(key=f"card-{hit.id}", gap=None):
                html = render_card(search, hit)
                if search.chips:
                    html += vote_buttons.render_buttons(search, hit.id, voted.get(hit.id, 0))
                st.html(html)
                if st.button(f"Open {hit.payload['name']}", key=f"open-{hit.id}", width="stretch"):
                    state.navigate(replace(search, open_id=hit.id))


def render_card(search: Search, hit: Hit) -> str:
    """A card as HTML; the button over it is the page's."""
    more = f'<span class="pl-badge">+{len(hit.duplicates)}</span>' if hit.duplicates else ""
    score = f'<span class="pl-score">{hit.score:.2f}</span>' if search.chips else ""
    name = escape(choose_title(hit.payload, search))
    return (
        f'<figure class="pl-card">{_render_preview(search, hit)}{more}'
        f"<figcaption><span>{name}</span>{score}</figcaption></figure>"
    )


def choose_title(payload: Payload, search: Search | None = None) -> str:
    """A caption, in the script that was asked in if there is one, else the file's name."""
    captions = [str(caption["text"]) for caption in payload.get("captions") or []]
    asked = {_script(p.value) for p in search.chips if not p.is_image} if search else set()
    alike = [text for text in captions if _script(text) in asked]
    return (alike or captions or [str(payload["name"])])[0]


def _script(text: str) -> str:
    """`CJK`, `HIRAGANA`, `ARABIC`...: how Unicode calls the first letter; kana counts as CJK."""
    letter = next((character for character in text if character.isalpha()), "")
    name = unicodedata.name(letter, "").split(" ")[0] if letter else ""
    return "CJK" if name in {"HIRAGANA", "KATAKANA"} else name


def _render_preview(search: Search, hit: Hit) -> str:
    if hit.payload["kind"] == "text":
        return f'<blockquote class="pl-text">{escape(hit.payload["text"][:EXCERPT_LENGTH])}</blockquote>'
    return (
        f'<img loading="lazy" src="{thumbnail_url(search.collection, hit.id)}" '
        f'alt="{escape(choose_title(hit.payload, search), quote=True)}">'
    )
