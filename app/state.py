"""A search is a link: its whole state is in the address, and is read from there on each run.

`q` holds the parts as they are typed (`2:sunset`, `-people`, `id:UUID`, `img:NAME`), `w` the
filters (`kind=image`), `c` the collection, `page`, `mix` (diversity), `all` (near-duplicates), `n`
(page size) and `open` (the hit in the dialog) the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import streamlit as st

from app.media import open_upload
from indexer.errors import QueryError
from indexer.search.filter_syntax import format_filters, parse_filters
from indexer.search.filters import add_filter
from indexer.search.query_syntax import PREFIX_PATTERN
from indexer.types import FieldFilter, Filters, Part, Query

PAGE_SIZES = (24, 48, 96)
EMPTY = FieldFilter()


@dataclass(frozen=True, slots=True)
class QueryChip:
    """A part of the search before its image is loaded: `value` is text, `id:…` or `img:…`."""

    value: str
    weight: float = 1.0  # negative: "less like this"

    @property
    def is_image(self) -> bool:
        return self.value.startswith(("id:", "img:"))

    @property
    def param(self) -> str:
        """The chip in the syntax of queries, as the address holds it."""
        sign = "-" if self.weight < 0 else ""
        weight = "" if abs(self.weight) == 1 else f"{abs(self.weight):g}:"
        escape = "\\" if not (sign or weight) and self.value[:1] in "+-\\" else ""
        return f"{sign}{weight}{escape}{self.value}"

    def to_part(self) -> Part:
        """Raises `QueryError` where the image was deleted."""
        if self.value.startswith("img:"):
            image = open_upload(self.value[4:])
            return Part(image=image, weight=self.weight, label="your picture")
        if self.value.startswith("id:"):
            return Part(id=self.value[3:], weight=self.weight, label="a picture here")
        return Part(text=self.value, weight=self.weight, label=self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search page shows."""

    collection: str = ""
    chips: tuple[QueryChip, ...] = ()
    filters: Filters = field(default_factory=dict)
    page: int = 1
    diversity: float = 0.0
    fold: bool = True
    size: int = PAGE_SIZES[0]
    open_id: str = field(default="", compare=False)

    def to_query(self) -> Query:
        """Raises `QueryError`."""
        return Query(
            parts=tuple(chip.to_part() for chip in self.chips),
            filters=self.filters,
            limit=self.size,
            offset=(self.page - 1) * self.size,
            diversity=self.diversity,
            group_duplicates=self.fold,
        )

    def with_filter(self, key: str, wanted: FieldFilter) -> Search:
        """The first page of the search with another filter of the field `key`."""
        filters = {**self.filters, key: wanted}
        return replace(self, filters={k: v for k, v in filters.items() if v != EMPTY}, page=1)

    def with_chips(self, *chips: QueryChip) -> Search:
        return replace(self, chips=chips, page=1)

    def with_chip(self, chip: QueryChip) -> Search:
        return self.with_chips(*self.chips, chip)

    def replace_chip(self, index: int, *chips: QueryChip) -> Search:
        return self.with_chips(*self.chips[:index], *chips, *self.chips[index + 1 :])


def parse_param(text: str) -> QueryChip:
    """Parse a part of a query. Unlike on the command line, text is never the path of a file."""
    if text[:1] in "\\ ":
        return QueryChip(text[1:].strip() or text)
    match = PREFIX_PATTERN.fullmatch(text)
    if not match:
        return QueryChip(text)
    sign = -1 if match["sign"] == "-" else 1
    return QueryChip(match["rest"].strip(), sign * float(match["weight"] or 1))


def read_url() -> Search:
    """The search in the address; what cannot be read is ignored."""
    params = st.query_params
    size = _parse_number(params.get("n"), PAGE_SIZES[0])
    return Search(
        collection=params.get("c", ""),
        chips=tuple(parse_param(text) for text in params.get_all("q") if text.strip()),
        filters=_parse_filters(params.get_all("w")),
        page=max(1, int(_parse_number(params.get("page"), 1))),
        diversity=min(1.0, max(0.0, _parse_number(params.get("mix"), 0.0))),
        fold=params.get("all") != "1",
        size=int(size) if size in PAGE_SIZES else PAGE_SIZES[0],
        open_id=params.get("open", ""),
    )


def write_url(search: Search) -> None:
    """Put the search into the address, without its defaults."""
    params: dict[str, str | Sequence[str]] = {
        "c": search.collection,
        "q": [chip.param for chip in search.chips],
        "w": format_filters(search.filters),
        "page": str(search.page) if search.page > 1 else "",
        "mix": f"{search.diversity:g}" if search.diversity else "",
        "all": "" if search.fold else "1",
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
        return float(text or default)
    except ValueError:
        return default
