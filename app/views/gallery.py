"""The hits of a search: a gallery of cards, and a dialog for one of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape

import streamlit as st

from app import state, votes
from app.media import original_url, thumbnail_url
from app.state import Search
from embedder.escaping import escape_markdown
from indexer.search.explanation import NO_REASON, format_reason
from indexer.search.searcher import Searcher
from indexer.types import FieldFilter, Hit, PartExplanation, Payload, QueryTerm, Record

EXCERPT_LENGTH = 260  # characters of a text
QUERY_MATCHES = {"same": "You searched with this", "copy": "A copy of yours"}


def show_gallery(search: Search, hits: Sequence[Hit], key: str = "gallery") -> None:
    """Show a card for each hit, in as many columns as fit."""
    voted = votes.load_votes(search) if search.terms else {}
    with st.grid("auto", min_column_width=170, gap="medium", key=key):
        for hit in hits:
            with st.container(key=f"card-{hit.id}", gap=None):
                html = render_card(search, hit)
                if search.terms:
                    html += votes.render_buttons(search, hit.id, voted.get(hit.id, 0))
                st.html(html)
                name = escape_markdown(str(hit.payload["name"]))
                if st.button(f"Open {name}", key=f"open-{hit.id}", width="stretch"):
                    state.navigate(replace(search, open_id=hit.id))


def render_card(search: Search, hit: Hit) -> str:
    """A card as HTML; the page puts a button over it."""
    more = f'<span class="pl-badge">+{len(hit.duplicates)}</span>' if hit.duplicates else ""
    if hit.query_match:
        more += f'<span class="pl-badge pl-match">{QUERY_MATCHES[hit.query_match]}</span>'
    score = f'<span class="pl-score">{hit.match}</span>' if hit.match else ""
    name = escape(choose_title(hit.payload, search))
    return (
        f'<figure class="pl-card">{_render_preview(search, hit)}{more}'
        f"<figcaption><span>{name}</span>{score}</figcaption></figure>"
    )


def choose_title(payload: Payload, search: Search | None = None) -> str:
    """A caption, preferably in the script of the query, else the name of the file."""
    captions = [str(caption["text"]) for caption in payload.get("captions") or []]
    scripts = {_script(term.text) for term in search.terms if term.text} if search else set()
    alike = [text for text in captions if _script(text) in scripts]
    return (alike or captions or [str(payload["name"])])[0]


def _script(text: str) -> str:
    """The Unicode script of the first letter (`CJK`, `ARABIC`, ...); kana counts as CJK."""
    letter = next((character for character in text if character.isalpha()), "")
    name = unicodedata.name(letter, "").split(" ")[0] if letter else ""
    return "CJK" if name in {"HIRAGANA", "KATAKANA"} else name


def _render_preview(search: Search, hit: Hit) -> str:
    if hit.payload["kind"] == "text":
        text = escape(hit.payload["text"][:EXCERPT_LENGTH])
        return f'<blockquote class="pl-text">{text}</blockquote>'
    return (
        f'<img loading="lazy" src="{thumbnail_url(search.collection, hit.id)}" '
        f'alt="{escape(choose_title(hit.payload, search))}">'
    )


def show_dialog(search: Search, searcher: Searcher) -> None:
    """Show the hit that the address names in a dialog, if the collection has it."""
    try:
        records = searcher.collection.store.retrieve([search.open_id])
    except Exception:  # the id comes from the address
        records = []
    if not records:
        return
    record = records[0]

    title = escape_markdown(choose_title(record.payload)[:80])

    @st.dialog(title or "Result", width="large", on_dismiss=_close)
    def dialog() -> None:
        _show_hit(search, record, searcher)

    dialog()


def _close() -> None:
    state.write_url(replace(state.read_url(), open_id=""))


def _show_hit(search: Search, record: Record, searcher: Searcher) -> None:
    preview, facts = st.columns([3, 2], gap="large")
    with preview:
        if record.payload["kind"] == "text":
            st.html(f'<blockquote class="pl-full">{escape(record.payload["text"])}</blockquote>')
        else:
            url = original_url(search.collection, record.id)
            alt = escape(choose_title(record.payload))
            image = f'<img class="pl-large" src="{url}" alt="{alt}">'
            st.html(f'<a href="{url}" target="_blank">{image}</a>')
        _show_actions(search, record)
    with facts:
        _show_explanation(search, record, searcher)
        _show_captions(record.payload)
        _show_facts(record.payload)


def _show_actions(search: Search, record: Record) -> None:
    """Buttons that search with this hit."""
    this = QueryTerm(id=record.id)
    with st.container(horizontal=True, key="ways"):
        if search.terms:
            vote = votes.load_votes(search).get(record.id, 0)
            st.html(votes.render_buttons(search, record.id, vote), width="content")
        more = st.button("More like this", icon=":material/auto_awesome_motion:", type="primary")
        add = st.button("Add words to this picture", icon=":material/add_notes:")
        if more or add:  # the words are typed on the page of this picture
            state.navigate(Search(collection=search.collection, terms=(this,)))
        if st.button("Not like this", icon=":material/block:"):
            state.navigate(replace(search.add_terms(replace(this, weight=-1.0)), open_id=""))


def _show_explanation(search: Search, record: Record, searcher: Searcher) -> None:
    """Show what matched which part of the query: the same query, filtered to this content."""
    if not search.terms:
        return
    query = replace(
        search.to_query(),
        filters={"content": FieldFilter((str(record.payload["content"]),))},
        limit=50,
        offset=0,
        group_duplicates=False,
    )
    hit = next((hit for hit in searcher.search(query) if hit.id == record.id), None)
    if hit is None or not hit.explanation.parts:
        return
    st.markdown("##### Why it was found")
    for part in hit.explanation.parts:
        if len(hit.explanation.parts) > 1:
            st.html(
                f'<div class="pl-bar"><span>{escape(part.label)}</span>'
                f'<i style="width:{part.share:.0%}"></i><b>{part.share:.0%}</b></div>'
            )
        st.html(f'<ul class="pl-reasons">{_render_reasons(part)}</ul>')


def _render_reasons(part: PartExplanation) -> str:
    phrases = [*map(format_reason, part.reasons)] or [NO_REASON]
    sentences = (phrase[0].upper() + phrase[1:] for phrase in phrases)
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _show_captions(payload: Payload) -> None:
    if payload["captions"]:
        st.markdown("##### Captions")
        captions = ((c["language"] or "–", c["text"]) for c in payload["captions"])
        st.html(f'<dl class="pl-facts">{_render_terms(captions)}</dl>')


def _show_facts(payload: Payload) -> None:
    size = f"{payload['width']} × {payload['height']}" if "width" in payload else ""
    kilobytes = f"{payload['bytes'] / 1000:,.0f} kB"
    facts = {
        "Taken": str(payload.get("taken", "")).replace("T", " "),
        "Camera": payload.get("camera", ""),
        "Size": " · ".join(filter(None, [size, kilobytes, payload["format"]])),
        "Tags": ", ".join(payload["tags"]),
        **payload.get("meta", {}),
    }
    terms = _render_terms((key, str(value)) for key, value in facts.items() if str(value))
    paths = "".join(f"<dd><code>{escape(path)}</code></dd>" for path in payload["paths"])
    st.markdown("##### About it")
    st.html(f'<dl class="pl-facts">{terms}<dt>Files</dt>{paths}</dl>')


def _render_terms(terms: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in terms)
