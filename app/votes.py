"""Votes on the hits of a search: what stands in the collection's file, and a new one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from app.resources import kept
from app.state import Piece, Search
from app.uploads import path_of
from indexer import feedback
from indexer.errors import QueryError, StoreError
from indexer.feedback import Asked, AskedPart, Vote
from indexer.parts import parse_where
from indexer.types import Record
from indexer.walk import file_path

Key = frozenset[AskedPart]


def of(search: Search) -> Mapping[str, int]:
    """1 or -1 for each point that was voted on as a hit of this search.

    Votes that cannot be read are no reason to show no hits: there are none then.
    """
    folder = kept(search.collection)
    asked = Asked(tuple(_as_kept(folder, _part(piece)) for piece in search.pieces))
    with suppress(StoreError):
        return _by_query(folder, _stamp(folder)).get(asked.key, {})
    return {}


def counts(collection: str) -> tuple[int, int]:
    """How many thumbs up and down the collection has; raises `StoreError`."""
    folder = kept(collection)
    given = [v for hits in _by_query(folder, _stamp(folder)).values() for v in hits.values()]
    return given.count(1), given.count(-1)


def cast(search: Search, record: Record, vote: int) -> None:
    """Keep a vote on a hit; 0 takes it back. Raises `StoreError`, `QueryError`."""
    payload = record.payload
    is_text = payload["kind"] == "text"
    given = Vote(
        query=Asked(tuple(map(_part, search.pieces)), parse_where(search.filters)),
        id=record.id,
        content=str(payload["content"]),
        vote=vote,
        path=None if is_text else file_path(payload["paths"][0]),
        text=payload["text"] if is_text else None,
    )
    feedback.record(kept(search.collection), given)


def _part(piece: Piece) -> AskedPart:
    weight = piece.weight if piece.wanted else -piece.weight
    if not piece.is_picture:
        return AskedPart(text=piece.rest, weight=weight)
    kind, _, name = piece.rest.partition(":")
    if kind == "id":
        return AskedPart(id=name, weight=weight)
    path = path_of(name)
    if path is None:
        raise QueryError("The picture of this search is kept no longer; drop it in again.")
    return AskedPart(image=str(path), weight=weight)


def _as_kept(folder: Path, part: AskedPart) -> AskedPart:
    """`part` as votes name it: a picture by the collection's own copy."""
    if not part.image:
        return part
    return replace(part, image=str(feedback.place(folder, Path(part.image))))


@lru_cache(maxsize=8)
def _by_query(folder: Path, stamp: tuple[int, int]) -> Mapping[Key, Mapping[str, int]]:
    """All votes of a collection; they are read again once the file has another `stamp`."""
    found: dict[Key, dict[str, int]] = {}
    for vote in feedback.read(folder):
        found.setdefault(vote.query.key, {})[vote.id] = vote.vote
    return found


def _stamp(folder: Path) -> tuple[int, int]:
    """Time and size of the file of votes."""
    try:
        status = (folder / feedback.FILE).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
