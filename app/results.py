"""The hits of a search as JSON: for the grid of results, a page at a time, and for the viewer."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app import votes
from app.json_routes import Json
from app.media import original_url, thumbnail_url
from app.rankings import make_ranking_name, rank_hits
from app.services import open_searcher
from app.state import Search
from embedder.cli.console import pluralize
from indexer.collections.schema import ADDED, TAKEN
from indexer.errors import QueryError
from indexer.ingest.time_and_place import get_taken
from indexer.search.dates import parse_time
from indexer.search.explanation import NO_REASON, format_reason
from indexer.search.searcher import Searcher
from indexer.search.sorting import DATE_ORDERS
from indexer.types import Caption, FieldFilter, Hit, Payload, SearchResults

PAGE_SIZE = 60
MAX_PAGE_SIZE = 1_000
NEAREST_HITS = 20  # that are shown at first where nothing matches
EXCERPT_LENGTH = 260  # characters of a text
TAIL_HEADING = "Less likely"
TAKEN_FROM = {  # of `taken_from`; nothing is said of the camera's own date
    "sidecar": "from the XMP file",
    "takeout": "from Google Photos",
    "apple": "from iCloud",
    "name": "from the file name",
    "edited": "when it was edited",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the grid.

    Attributes:
        hits: What the grid shows of each hit.
        headings: Lines between the hits: index in the whole list -> text.
        more: Whether there is a next page.
        is_paused: Whether it is shown on demand alone, as what follows is less and less alike.
        ranking: Names the ranked list that the next pages are of.
        results: What the search answered, of the first page.
    """

    hits: list[Json]
    headings: Mapping[int, str]
    more: bool
    is_paused: bool
    ranking: str
    results: SearchResults

    def to_json(self) -> Json:
        """What the grid reads."""
        return {
            "hits": self.hits,
            "headings": {str(index): text for index, text in self.headings.items()},
            "more": self.more,
            "paused": self.is_paused,
            "ranking": self.ranking,
        }


def load_page(
    search: Search, offset: int = 0, limit: int = PAGE_SIZE, ranking: str | None = None
) -> Page:
    """Search, or continue the list of an earlier search.

    Args:
        search: What is looked for.
        offset: Hits before the page.
        limit: Hits of the page.
        ranking: That of the first page; None searches anew.

    Raises:
        QueryError, StoreError, CollectionError, EmbedderError: The search failed.
    """
    searcher = open_searcher(search.collection)
    ranking = ranking or make_ranking_name()
    headings: dict[int, str] = {}
    is_paused = False
    if search.terms:
        ranked = rank_hits(search, ranking)
        if ranked.first.matches is False and not offset:
            limit, is_paused = min(limit, NEAREST_HITS), True
        hits, more = ranked.load(offset, limit)
        first = ranked.first
        if ranked.tail is not None and offset <= ranked.tail < offset + limit:
            headings = {ranked.tail: TAIL_HEADING}
    else:
        first = searcher.search(search.to_query(limit=limit, offset=offset))
        hits, more = list(first.hits), first.has_more
    voted = votes.load_votes(search) if search.terms else {}
    described = [describe_hit(search, hit) | {"vote": voted.get(hit.id, 0)} for hit in hits]
    return Page(
        hits=described,
        headings=headings,
        more=more,
        is_paused=is_paused,
        ranking=ranking,
        results=first,
    )


def describe_total(search: Search, page: Page, count: int | None) -> str:
    """Say how many there are, as far as that is known, for people.

    Args:
        search: What is shown.
        page: Its first page.
        count: Of a list without a query: how many items there are.

    Returns:
        The words; `{n}` in them stands for the number of hits that are shown.
    """
    found = page.results
    if not search.terms:
        return pluralize(count or 0, "item")
    if found.total is not None:
        if found.matches:
            return f"{pluralize(found.total, 'likely result')}; weaker ones are left out"
        return f"The {'best' if found.matches is None else 'closest'} {found.total:,}"
    if found.matches is False:
        return "The closest {n}"
    if found.num_strong:
        return f"About {pluralize(found.num_strong, 'strong result')}"
    return "The best {n}" if page.more else "{n} results"


def describe_hit(search: Search, hit: Hit) -> Json:
    """What the grid shows of a hit."""
    return _describe(search, hit.id, hit.payload) | {
        "match": hit.match,
        "query_match": hit.query_match,
        "date": _find_date(search, hit.payload),
        "duplicates": list(hit.duplicates),
        "signature": hit.signature,
    }


def _find_date(search: Search, payload: Payload) -> str | None:
    """The date that a hit has its place by, as exact as it is known."""
    if search.order not in DATE_ORDERS:
        return None
    key, _ = DATE_ORDERS[search.order]
    taken = get_taken(payload) if key == TAKEN else None
    return taken.date if taken else payload.get(key)


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
        "taken": payload.get("taken"),
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
    date = get_taken(payload)
    taken = date.date.replace("T", " ") if date else ""
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
