"""The gallery: one card a hit, its picture by URL."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from html import escape

import streamlit as st

from app import state, thumbs, votes
from app.media import thumb_url
from app.state import Search
from indexer.types import Hit, Payload

EXCERPT = 260  # characters of a text


def gallery(search: Search, hits: Sequence[Hit]) -> None:
    """The cards in a grid that follows the width of the window; hits of a search have thumbs."""
    voted = votes.of(search) if search.pieces else {}
    with st.grid("auto", min_column_width=170, gap="medium", key="gallery"):
        for hit in hits:
            with st.container(key=f"card-{hit.id}", gap=None):
                html = card(search, hit)
                if search.pieces:
                    html += thumbs.buttons(search, hit.id, voted.get(hit.id, 0))
                st.html(html)
                if st.button(f"Open {hit.payload['name']}", key=f"open-{hit.id}", width="stretch"):
                    state.go(replace(search, opened=hit.id))


def card(search: Search, hit: Hit) -> str:
    """A card as HTML; the button over it is the page's."""
    more = f'<span class="pl-badge">+{len(hit.folded)}</span>' if hit.folded else ""
    score = f'<span class="pl-score">{hit.score:.2f}</span>' if search.pieces else ""
    name = escape(title(hit.payload, search))
    return (
        f'<figure class="pl-card">{_face(search, hit)}{more}'
        f"<figcaption><span>{name}</span>{score}</figcaption></figure>"
    )


def title(payload: Payload, search: Search | None = None) -> str:
    """A caption, in the script that was asked in if there is one, else the file's name."""
    captions = [str(caption["text"]) for caption in payload.get("captions") or []]
    asked = {_script(p.rest) for p in search.pieces if not p.is_picture} if search else set()
    alike = [text for text in captions if _script(text) in asked]
    return (alike or captions or [str(payload["name"])])[0]


def _script(text: str) -> str:
    """`CJK`, `HIRAGANA`, `ARABIC`...: how Unicode calls the first letter; kana counts as CJK."""
    letter = next((character for character in text if character.isalpha()), "")
    name = unicodedata.name(letter, "").split(" ")[0] if letter else ""
    return "CJK" if name in {"HIRAGANA", "KATAKANA"} else name


def _face(search: Search, hit: Hit) -> str:
    if hit.payload["kind"] == "text":
        return f'<blockquote class="pl-text">{escape(hit.payload["text"][:EXCERPT])}</blockquote>'
    return (
        f'<img loading="lazy" src="{thumb_url(search.collection, hit.id)}" '
        f'alt="{escape(title(hit.payload, search), quote=True)}">'
    )
