"""A search is a link: its whole state is in the address, and is read from there on each run.

`query` holds the query as it is typed (`beach -people sunset^2 id:UUID`), with `img:NAME` for an
uploaded image, `w` the filters (`kind=image`), `c` the collection, `page`, `mix` (diversity), `all`
(near-duplicates), `least` (the weakest match), `n` (page size) and `open` (the hit in the dialog)
the rest. Links of version
0.1.0 have a `q` for each term instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import streamlit as st

from app.media import UPLOAD_NAME_PATTERN, open_upload
from indexer.errors import QueryError
from indexer.search.filter_syntax import format_filters, parse_filters
from indexer.search.filters import add_filter
from indexer.search.query_syntax import (
    UPLOAD_PREFIX,
    format_terms,
    load_term,
    parse_saved_term,
    parse_terms,
)
from indexer.types import MATCH_WORDS, FieldFilter, Filters, Part, Query, QueryTerm

PAGE_SIZES = (24, 48, 96)
MAX_PAGE = 1_000_000
EMPTY = FieldFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search page shows."""

    collection: str = ""
    terms: tuple[QueryTerm, ...] = ()
    filters: Filters = field(default_factory=dict)
    page: int = 1
    diversity: float = 0.0
    fold: bool = True
    least: str = ""  # a word of `MATCH_WORDS`: the weakest match to show; "": all
    size: int = PAGE_SIZES[0]
    open_id: str = field(default="", compare=False)

    def to_query(self) -> Query:
        """Raises `QueryError`."""
        return Query(
            parts=tuple(map(_to_part, self.terms)),
            filters=self.filters,
            limit=self.size,
            offset=(self.page - 1) * self.size,
            diversity=self.diversity,
            group_duplicates=self.fold,
            min_strength=MATCH_WORDS.get(self.least, 0.0),
        )

    def with_filter(self, key: str, wanted: FieldFilter) -> Search:
        """The first page of the search with another filter of the field `key`."""
        filters = {**self.filters, key: wanted}
        return replace(self, filters={k: v for k, v in filters.items() if v != EMPTY}, page=1)

    def with_terms(self, *terms: QueryTerm) -> Search:
        return replace(self, terms=terms, page=1)

    def add_terms(self, *terms: QueryTerm) -> Search:
        return self.with_terms(*self.terms, *terms)

    def replace_term(self, index: int, *terms: QueryTerm) -> Search:
        return self.with_terms(*self.terms[:index], *terms, *self.terms[index + 1 :])


def parse_typed(text: str) -> tuple[QueryTerm, ...]:
    """Parse what was typed. Unlike on the command line, it never names a file of this machine.

    Raises `QueryError`.
    """
    return parse_terms(text, _is_upload)


def _is_upload(name: str) -> bool:
    upload = name.removeprefix(UPLOAD_PREFIX)
    return upload != name and bool(UPLOAD_NAME_PATTERN.fullmatch(upload))


def _to_part(term: QueryTerm) -> Part:
    """Raises `QueryError` where the image was deleted."""
    if term.image is not None:
        image = open_upload(term.image.removeprefix(UPLOAD_PREFIX))
        return Part(image=image, weight=term.weight, label="your picture")
    part = load_term(term)
    return replace(part, label="a picture here") if term.id else part


def read_url() -> Search:
    """The search in the address; what cannot be read is ignored."""
    params = st.query_params
    size = _parse_number(params.get("n"), PAGE_SIZES[0])
    return Search(
        collection=params.get("c", ""),
        terms=_read_terms(params.get("query"), params.get_all("q")),
        filters=_parse_filters(params.get_all("w")),
        page=int(min(MAX_PAGE, max(1, _parse_number(params.get("page"), 1)))),
        diversity=min(1.0, max(0.0, _parse_number(params.get("mix"), 0.0))),
        fold=params.get("all") != "1",
        least=params.get("least", "") if params.get("least") in MATCH_WORDS else "",
        size=int(size) if size in PAGE_SIZES else PAGE_SIZES[0],
        open_id=params.get("open", ""),
    )


def _read_terms(query: str | None, saved: Sequence[str]) -> tuple[QueryTerm, ...]:
    if query is None:
        return tuple(parse_saved_term(text) for text in saved if text.strip())
    try:
        return parse_typed(query)
    except QueryError:
        return (QueryTerm(text=query),)


def write_url(search: Search) -> None:
    """Put the search into the address, without its defaults."""
    params: dict[str, str | Sequence[str]] = {
        "c": search.collection,
        "query": format_terms(search.terms),
        "w": format_filters(search.filters),
        "page": str(search.page) if search.page > 1 else "",
        "mix": f"{search.diversity:g}" if search.diversity else "",
        "all": "" if search.fold else "1",
        "least": search.least,
        "n": str(search.size) if search.size != PAGE_SIZES[0] else "",
        "open": search.open_id,
    }
    st.query_params.from_dict({key: value for key, value in params.items() if value})


def navigate(search: Search) -> None:
    """Write the search into the address and run the page again."""
    write_url(search)
    st.rerun()


def _parse_filters(params: Sequence[str]) -> Filters:
    filters: dict[str, FieldFilter] = {}
    for param in params:
        try:
            readable = parse_filters([param])
        except QueryError:  # links of version 0.1.0 have a value with quotes as it is
            name, _, value = param.partition("=")
            readable = {name: FieldFilter((value,))} if name.strip() and value.strip() else {}
        for key, wanted in readable.items():
            add_filter(filters, key, wanted)
    return filters


def _parse_number(text: str | None, default: float) -> float:
    try:
        number = float(text or default)
    except ValueError:
        return default
    return default if math.isnan(number) else number
