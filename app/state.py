"""What the Search page shows, and how its address says so.

The address has `c` (the collection), `query` (the terms as they are typed), `w` for each filter,
`mix` (diversity), `all` (near-duplicates too), `least` (the weakest match), `sort` (the order) and
`rerank` (0: not).
The item that is open is behind the `#`, as that needs no search. Links of version 0.1.0 have `open`
for it, and a `q` for each term.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args
from urllib.parse import urlencode

import streamlit as st

from app.media import UPLOAD_NAME_PATTERN, open_upload
from indexer.errors import QueryError
from indexer.search.filter_syntax import format_filters, parse_filters
from indexer.search.filters import add_filter
from indexer.search.query_syntax import (
    UPLOAD_PREFIX,
    format_terms,
    load_term,
    parse_id,
    parse_saved_term,
    parse_terms,
)
from indexer.types import MATCH_WORDS, FieldFilter, Filters, Part, Query, QueryTerm, SortOrder

EMPTY = FieldFilter()
GetAll = Callable[[str], Sequence[str]]
"""Returns all values of a parameter of the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search page shows."""

    collection: str = ""
    terms: tuple[QueryTerm, ...] = ()
    filters: Filters = field(default_factory=dict)
    diversity: float = 0.0
    fold: bool = True
    least: str = ""  # a word of `MATCH_WORDS`: the weakest match to show; "": all
    sort: SortOrder | None = None  # None: the best first, and without a query the newest
    rerank: bool = True  # where a reranker is set
    open_id: str = field(default="", compare=False)

    @property
    def params(self) -> dict[str, list[str]]:
        """The parameters of the address, without the defaults."""
        params: dict[str, list[str]] = {
            "c": [self.collection],
            "query": [format_terms(self.terms)],
            "w": format_filters(self.filters),
            "mix": [f"{self.diversity:g}" if self.diversity else ""],
            "all": ["" if self.fold else "1"],
            "least": [self.least],
            "sort": [self.sort or ""],
            "rerank": ["" if self.rerank else "0"],
        }
        return {key: values for key, values in params.items() if any(values)}

    @property
    def address(self) -> str:
        """The parameters as a query string."""
        return urlencode(self.params, doseq=True)

    @property
    def order(self) -> SortOrder:
        """The order of the hits."""
        return self.sort or ("strength" if self.terms else "newest")

    def to_query(self, *, limit: int, offset: int = 0) -> Query:
        """Raises `QueryError`."""
        return Query(
            parts=tuple(map(_to_part, self.terms)),
            filters=self.filters,
            limit=limit,
            offset=offset,
            diversity=self.diversity if self.order == "strength" else 0.0,
            group_duplicates=self.fold,
            min_strength=MATCH_WORDS.get(self.least, 0.0),
            sort=self.order,
        )

    def with_terms(self, terms: Sequence[QueryTerm]) -> Search:
        """The search for something else; the order of a list without a query is not kept."""
        return replace(self, terms=tuple(terms), sort=self.sort if self.terms and terms else None)

    def with_filter(self, key: str, wanted: FieldFilter) -> Search:
        """The search with another filter of the field `key`."""
        filters = {**self.filters, key: wanted}
        return replace(self, filters={k: v for k, v in filters.items() if v != EMPTY})

    def replace_term(self, index: int, *terms: QueryTerm) -> Search:
        return self.with_terms((*self.terms[:index], *terms, *self.terms[index + 1 :]))


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
    return parse_params(st.query_params.get_all)


def parse_params(get_all: GetAll) -> Search:
    """The search in the parameters of an address; what cannot be read is ignored."""

    def get(key: str) -> str:
        return next(iter(get_all(key)[-1:]), "")

    return Search(
        collection=get("c"),
        terms=_read_terms(get("query") if get_all("query") else None, get_all("q")),
        filters=_parse_filters(get_all("w")),
        diversity=min(1.0, max(0.0, _parse_number(get("mix")))),
        fold=get("all") != "1",
        least=get("least") if get("least") in MATCH_WORDS else "",
        sort=parse_order(get("sort")),
        rerank=get("rerank") != "0",
        open_id=parse_id(get("open")) or "",
    )


def parse_order(text: str) -> SortOrder | None:
    """The order that is called so; None for another text."""
    return next((order for order in get_args(SortOrder) if order == text), None)


def _read_terms(query: str | None, saved: Sequence[str]) -> tuple[QueryTerm, ...]:
    if query is None:
        return tuple(parse_saved_term(text) for text in saved if text.strip())
    try:
        return parse_typed(query)
    except QueryError:
        return (QueryTerm(text=query),)


def write_url(search: Search) -> None:
    """Put the search into the address."""
    st.query_params.from_dict(search.params)


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


def _parse_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return 0.0 if math.isnan(number) else number
