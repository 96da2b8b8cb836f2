"""What is new in a search that a browser has saved. The searches themselves are kept there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from app.services import open_searcher
from app.state import Search
from indexer.collections.schema import ADDED
from indexer.search.dates import parse_time
from indexer.search.filter_syntax import format_filters
from indexer.search.query_syntax import format_terms
from indexer.types import FieldFilter

MAX_NEW = 200  # that are counted


def count_new(search: Search, since: datetime) -> int | None:
    """How many items of a search came into the collection after a moment, `MAX_NEW` at most.

    Of a query, those that are likely right. None where that is not known, as for a model without
    reference values, and for a search that has a filter on the date already.

    Raises what a search raises.
    """
    if ADDED in search.filters:
        return None
    day = since.astimezone(UTC).date().isoformat()  # filters know days
    later = replace(
        search,
        filters={**search.filters, ADDED: FieldFilter((f">={day}",))},
        sort="strength" if search.terms else "added",  # of many of that day, the last ones
    )
    found = open_searcher(search.collection).search(later.to_query(limit=MAX_NEW))
    hits = found.hits
    if search.terms and hits:
        if found.matches is None:
            return None
        hits = hits[: found.num_leading if found.matches else 0]
    times = [parse_time(hit.payload.get(ADDED)) for hit in hits]
    return sum(time is not None and time > since for time in times)


def describe_search(search: Search) -> str:
    """The name of a search: its words and filters."""
    words = [term for term in search.terms if term.text]
    pictures = len(search.terms) - len(words)
    named = ["a picture" if pictures == 1 else f"{pictures} pictures"] if pictures else []
    values = [text.partition("=")[2] for text in format_filters(search.filters)]
    return " · ".join(filter(None, [format_terms(words), *named, *values]))
