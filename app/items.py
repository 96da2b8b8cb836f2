"""Items of a collection as JSON: what the grid shows of a hit, and the viewer of one item."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from app import votes
from app.json_routes import Json
from app.media import original_url, thumbnail_url
from app.services import open_searcher
from app.state import Search
from indexer.collections.schema import ADDED, TAKEN
from indexer.errors import QueryError
from indexer.ingest.time_and_place import get_date
from indexer.search.dates import parse_time
from indexer.search.explanation import NO_REASON, format_reason, format_rerank
from indexer.search.searcher import Searcher
from indexer.search.sorting import DATE_ORDERS
from indexer.types import Caption, FieldFilter, Hit, Payload

EXCERPT_LENGTH = 260  # characters of a text
TAKEN_FROM = {  # of `taken_from`; nothing is said of the camera's own date
    "sidecar": "from the XMP file",
    "takeout": "from Google Photos",
    "apple": "from iCloud",
    "name": "from the file name",
    "edited": "when it was edited",
}


def describe_hit(search: Search, hit: Hit) -> Json:
    """What the grid shows of a hit."""
    return _describe(search, hit.id, hit.payload) | {
        "match": hit.match,
        "query_match": hit.query_match,
        "date": _find_date(search, hit.payload),
        "duplicates": list(hit.duplicates),
        "signature": hit.signature,
        "rerank": _make_sentence(format_rerank(rerank))
        if (rerank := hit.explanation.rerank)
        else "",
    }


def _find_date(search: Search, payload: Payload) -> str | None:
    """The date that a hit has its place by, as exact as it is known."""
    if search.order not in DATE_ORDERS:
        return None
    return get_date(payload, DATE_ORDERS[search.order][0]) or None


def describe_item(search: Search, id: str) -> Json | None:
    """What the viewer shows of a point; None where the collection has no such point.

    Raises `StoreError`, `QueryError`, `EmbedderError`.
    """
    searcher = open_searcher(search.collection)
    records = searcher.collection.store.retrieve([id])
    if not records:
        return None
    payload = records[0].payload
    return _describe(search, id, payload) | {
        "text": payload.get("text"),
        "captions": [
            {"text": caption["text"], "language": caption.get("language")}
            for caption in payload.get("captions") or ()
        ],
        "facts": list(_list_facts(payload)),
        "paths": payload.get("paths") or [],
        "format": payload.get("format"),
        "bytes": payload.get("bytes"),
        "taken": get_date(payload, TAKEN),
        "camera": payload.get("camera"),
        "reasons": _explain(search, id, payload, searcher),
        "vote": votes.load_votes(search).get(id, 0) if search.terms else 0,
    }


def _describe(search: Search, id: str, payload: Payload) -> Json:
    title = choose_title(payload, search)
    is_text = payload["kind"] == "text"
    return {
        "id": id,
        "kind": payload["kind"],
        "name": payload["name"],
        "title": title.text,
        "language": title.language,
        "path": next(iter(payload.get("paths") or ()), ""),
        "tags": list(payload.get("tags") or ()),
        "text": str(payload["text"])[:EXCERPT_LENGTH] if is_text else None,
        "width": payload.get("width"),
        "height": payload.get("height"),
        "thumb": None if is_text else thumbnail_url(search.collection, id),
        "original": None if is_text else original_url(search.collection, id),
    }


def choose_title(payload: Payload, search: Search) -> Caption:
    """A caption, preferably in the script of the query, then English; else the name of the file."""
    captions = [
        Caption(str(caption["text"]), caption.get("language"))
        for caption in payload.get("captions") or ()
    ]
    scripts = {_find_script(term.text) for term in search.terms if term.text}
    alike = [caption for caption in captions if _find_script(caption.text) in scripts]
    english = [caption for caption in captions if caption.language == "en"]
    return next(iter([*alike, *english, *captions]), Caption(str(payload["name"])))


def _find_script(text: str) -> str:
    """The Unicode script of the first letter (`CJK`, `ARABIC`, ...); kana counts as CJK."""
    letter = next((character for character in text if character.isalpha()), "")
    name = unicodedata.name(letter, "").split(" ")[0] if letter else ""
    return "CJK" if name in {"HIRAGANA", "KATAKANA"} else name


def _explain(search: Search, id: str, payload: Payload, searcher: Searcher) -> list[Json]:
    """What matched which part of the query: the same query, filtered to this content."""
    if not search.terms:
        return []
    query = replace(
        search.to_query(limit=50),
        filters={"content": FieldFilter((str(payload["content"]),))},
        group_duplicates=False,
        min_strength=0.0,
    )
    try:
        hit = next((hit for hit in searcher.search(query) if hit.id == id), None)
    except QueryError:  # as where the image of the query was deleted
        return []
    return [
        {
            "label": part.label,
            "share": part.share,
            "reasons": [*map(_make_sentence, map(format_reason, part.reasons))]
            or [_make_sentence(NO_REASON)],
        }
        for part in (hit.explanation.parts if hit else ())
    ]


def _format_taken(payload: Payload) -> str:
    """When an image was taken, and where the date is from if the camera has not written it."""
    source = TAKEN_FROM.get(payload.get("taken_from", ""), "")
    taken = get_date(payload, TAKEN).replace("T", " ")
    return f"{taken} ({source})" if taken and source else taken


def _make_sentence(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:]


def _format_added(payload: Payload) -> str:
    date = parse_time(payload.get(ADDED))
    return f"{date:%Y-%m-%d %H:%M} UTC" if date else ""


def _list_facts(payload: Payload) -> list[tuple[str, str]]:
    size = f"{payload['width']} × {payload['height']}" if "width" in payload else ""
    kilobytes = f"{payload['bytes'] / 1000:,.0f} kB" if "bytes" in payload else ""
    facts = {
        "Taken": _format_taken(payload),
        "Added": _format_added(payload),
        "Camera": payload.get("camera", ""),
        "Size": " · ".join(filter(None, [size, kilobytes, payload.get("format", "")])),
        **payload.get("meta", {}),
    }
    return [(key, str(value)) for key, value in facts.items() if str(value)]
