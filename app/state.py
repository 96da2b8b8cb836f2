"""A search is a link: all of it lives in the address, and is read from there on each run.

`q` holds the parts as they are typed (`2:sunset`, `-people`, `id:UUID`, `img:NAME`), `w` the
filters (`kind=image`); `page`, `mix`, `all`, `n` and `c` the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import streamlit as st

from app.uploads import open_upload
from indexer.search.query_syntax import parse_filters, parse_part
from indexer.types import Part, Query

CHIP_PATTERN = re.compile(  # a time such as 12:30 is no weight
    r"(?P<sign>-)?(?:(?P<weight>\d+(?:\.\d+)?):(?!\d))?(?P<rest>.+)", re.DOTALL
)
PAGE_SIZES = (24, 48, 96)


@dataclass(frozen=True, slots=True)
class QueryChip:
    """A part of the search as the page shows it: `rest` is words, `id:…` or `img:…`."""

    value: str
    weight: float = 1.0
    positive: bool = True

    @property
    def is_image(self) -> bool:
        return self.value.startswith(("id:", "img:"))

    @property
    def param(self) -> str:
        sign = "" if self.positive else "-"
        weight = "" if self.weight == 1 else f"{self.weight:g}:"
        plain = not (sign or weight or self.is_image)
        literal = "\\" if plain and self.value[:1] in "+-\\" else ""
        return f"{sign}{weight}{literal}{self.value}"

    def to_part(self) -> Part:
        """Raises `QueryError`."""
        weight = self.weight if self.positive else -self.weight
        if self.value.startswith("img:"):
            return Part(image=open_upload(self.value[4:]), weight=weight, label="your picture")
        if self.value.startswith("id:"):
            return Part(id=self.value[3:], weight=weight, label="a picture here")
        return Part(text=self.value, weight=weight, label=self.value)


@dataclass(frozen=True, slots=True)
class Search:
    """All that a search page shows follows from this."""

    collection: str = ""
    chips: tuple[QueryChip, ...] = ()
    filters: tuple[str, ...] = ()
    page: int = 1
    diversity: float = 0.0
    fold: bool = True
    size: int = PAGE_SIZES[0]
    open_id: str = field(default="", compare=False)

    def to_query(self) -> Query:
        """Raises `QueryError`."""
        return Query(
            parts=tuple(piece.to_part() for piece in self.chips),
            filters=parse_filters(self.filters),
            limit=self.size,
            offset=(self.page - 1) * self.size,
            diversity=self.diversity,
            group_duplicates=self.fold,
        )

    def with_chip(self, chip: QueryChip) -> Search:
        return replace(self, chips=(*self.chips, chip), page=1)

    def without_chip(self, index: int) -> Search:
        return replace(self, chips=self.chips[:index] + self.chips[index + 1 :], page=1)

    def with_changed_chip(self, index: int, chip: QueryChip) -> Search:
        pieces = (*self.chips[:index], chip, *self.chips[index + 1 :])
        return replace(self, chips=pieces, page=1)


def parse_param(code: str) -> QueryChip:
    """What stands in the address -> a piece; words are never taken for a file's path."""
    if code[:1] in "\\ ":
        return QueryChip(code[1:].strip() or code)
    match = CHIP_PATTERN.fullmatch(code)
    if not match:
        return QueryChip(code)
    return QueryChip(match["rest"].strip(), float(match["weight"] or 1), match["sign"] is None)


def parse_typed(text: str) -> QueryChip:
    """What somebody types into the box, with the same signs and weights as in the terminal."""
    if text.startswith("id:") or "." not in text:
        part = parse_part(text)
        return QueryChip(part.text or f"id:{part.id}", abs(part.weight), part.weight >= 0)
    return parse_param(text.removeprefix("+"))


def read_url() -> Search:
    """The search in the address; what cannot be read counts as not given."""
    params = st.query_params
    size = _parse_number(params.get("n"), PAGE_SIZES[0])
    return Search(
        collection=params.get("c", ""),
        chips=tuple(parse_param(code) for code in params.get_all("q") if code.strip()),
        filters=tuple(w for w in params.get_all("w") if "=" in w.strip("=")),
        page=max(1, int(_parse_number(params.get("page"), 1))),
        diversity=min(1.0, max(0.0, _parse_number(params.get("mix"), 0.0))),
        fold=params.get("all") != "1",
        size=int(size) if size in PAGE_SIZES else PAGE_SIZES[0],
        open_id=params.get("open", ""),
    )


def write_url(search: Search) -> None:
    """Put the search in the address, without what is as it is by default."""
    given: dict[str, str | Sequence[str]] = {
        "c": search.collection,
        "q": [piece.param for piece in search.chips],
        "w": list(search.filters),
        "page": str(search.page) if search.page > 1 else "",
        "mix": f"{search.diversity:g}" if search.diversity else "",
        "all": "" if search.fold else "1",
        "n": str(search.size) if search.size != PAGE_SIZES[0] else "",
        "open": search.open_id,
    }
    st.query_params.from_dict({key: value for key, value in given.items() if value})


def navigate(search: Search) -> None:
    """Write the search and run the page anew."""
    write_url(search)
    st.rerun()


def _parse_number(text: str | None, default: float) -> float:
    try:
        return float(text or default)
    except ValueError:
        return default
