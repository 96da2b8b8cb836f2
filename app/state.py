"""A search is a link: all of it lives in the address, and is read from there on each run.

`q` holds the parts as they are typed (`2:sunset`, `-people`, `id:UUID`, `img:NAME`), `w` the
filters (`kind=image`); `page`, `mix`, `all`, `n` and `c` the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import streamlit as st

from app.uploads import picture
from indexer.parts import parse_part, parse_where
from indexer.types import Part, Query

FRONT = re.compile(  # a time such as 12:30 is no weight
    r"(?P<sign>-)?(?:(?P<weight>\d+(?:\.\d+)?):(?!\d))?(?P<rest>.+)", re.DOTALL
)
PAGE_SIZES = (24, 48, 96)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the search as the page shows it: `rest` is words, `id:…` or `img:…`."""

    rest: str
    weight: float = 1.0
    wanted: bool = True

    @property
    def is_picture(self) -> bool:
        return self.rest.startswith(("id:", "img:"))

    @property
    def code(self) -> str:
        sign = "" if self.wanted else "-"
        weight = "" if self.weight == 1 else f"{self.weight:g}:"
        plain = not (sign or weight or self.is_picture)
        literal = "\\" if plain and self.rest[:1] in "+-\\" else ""
        return f"{sign}{weight}{literal}{self.rest}"

    def part(self) -> Part:
        """Raises `QueryError`."""
        weight = self.weight if self.wanted else -self.weight
        if self.rest.startswith("img:"):
            return Part(image=picture(self.rest[4:]), weight=weight, label="your picture")
        if self.rest.startswith("id:"):
            return Part(id=self.rest[3:], weight=weight, label="a picture here")
        return Part(text=self.rest, weight=weight, label=self.rest)


@dataclass(frozen=True, slots=True)
class Search:
    """All that a search page shows follows from this."""

    collection: str = ""
    pieces: tuple[Piece, ...] = ()
    filters: tuple[str, ...] = ()
    page: int = 1
    diversity: float = 0.0
    fold: bool = True
    size: int = PAGE_SIZES[0]
    opened: str = field(default="", compare=False)

    def query(self) -> Query:
        """Raises `QueryError`."""
        return Query(
            parts=tuple(piece.part() for piece in self.pieces),
            where=parse_where(self.filters),
            limit=self.size,
            offset=(self.page - 1) * self.size,
            diversity=self.diversity,
            fold=self.fold,
        )

    def with_piece(self, piece: Piece) -> Search:
        return replace(self, pieces=(*self.pieces, piece), page=1)

    def without(self, index: int) -> Search:
        return replace(self, pieces=self.pieces[:index] + self.pieces[index + 1 :], page=1)

    def changed(self, index: int, piece: Piece) -> Search:
        pieces = (*self.pieces[:index], piece, *self.pieces[index + 1 :])
        return replace(self, pieces=pieces, page=1)


def read_piece(code: str) -> Piece:
    """What stands in the address -> a piece; words are never taken for a file's path."""
    if code[:1] in "\\ ":
        return Piece(code[1:].strip() or code)
    match = FRONT.fullmatch(code)
    if not match:
        return Piece(code)
    return Piece(match["rest"].strip(), float(match["weight"] or 1), match["sign"] is None)


def typed(text: str) -> Piece:
    """What somebody types into the box, with the same signs and weights as in the terminal."""
    if text.startswith("id:") or "." not in text:
        part = parse_part(text)
        return Piece(part.text or f"id:{part.id}", abs(part.weight), part.weight >= 0)
    return read_piece(text.removeprefix("+"))


def read() -> Search:
    """The search in the address; what cannot be read counts as not given."""
    params = st.query_params
    size = _number(params.get("n"), PAGE_SIZES[0])
    return Search(
        collection=params.get("c", ""),
        pieces=tuple(read_piece(code) for code in params.get_all("q") if code.strip()),
        filters=tuple(w for w in params.get_all("w") if "=" in w.strip("=")),
        page=max(1, int(_number(params.get("page"), 1))),
        diversity=min(1.0, max(0.0, _number(params.get("mix"), 0.0))),
        fold=params.get("all") != "1",
        size=int(size) if size in PAGE_SIZES else PAGE_SIZES[0],
        opened=params.get("open", ""),
    )


def write(search: Search) -> None:
    """Put the search in the address, without what is as it is by default."""
    given: dict[str, str | Sequence[str]] = {
        "c": search.collection,
        "q": [piece.code for piece in search.pieces],
        "w": list(search.filters),
        "page": str(search.page) if search.page > 1 else "",
        "mix": f"{search.diversity:g}" if search.diversity else "",
        "all": "" if search.fold else "1",
        "n": str(search.size) if search.size != PAGE_SIZES[0] else "",
        "open": search.opened,
    }
    st.query_params.from_dict({key: value for key, value in given.items() if value})


def go(search: Search) -> None:
    """Write the search and run the page anew."""
    write(search)
    st.rerun()


def _number(text: str | None, otherwise: float) -> float:
    try:
        return float(text or otherwise)
    except ValueError:
        return otherwise
