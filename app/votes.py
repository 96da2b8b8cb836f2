"""Votes on the hits of a search: what stands in the collection's file, and a new one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from app.services import local_dir
from app.state import QueryChip, Search
from app.uploads import find_upload
from indexer import feedback
from indexer.errors import QueryError, StoreError
from indexer.feedback import Vote, VotedQuery, VotedQueryPart
from indexer.paths import resolve_display_path
from indexer.search.query_syntax import parse_filters
from indexer.types import Record

Key = frozenset[VotedQueryPart]


def load_votes(search: Search) -> Mapping[str, int]:
    """1 or -1 for each point that was voted on as a hit of this search.

    Votes that cannot be read are no reason to show no hits: there are none then.
    """
    folder = local_dir(search.collection)
    asked = VotedQuery(
        tuple(_with_stored_image(folder, _to_asked_part(piece)) for piece in search.chips)
    )
    with suppress(StoreError):
        return _load_by_query(folder, _file_version(folder)).get(asked.key, {})
    return {}


def count_votes(collection: str) -> tuple[int, int]:
    """How many thumbs up and down the collection has; raises `StoreError`."""
    folder = local_dir(collection)
    given = [
        v for hits in _load_by_query(folder, _file_version(folder)).values() for v in hits.values()
    ]
    return given.count(1), given.count(-1)


def record_vote(search: Search, record: Record, vote: int) -> None:
    """Keep a vote on a hit; 0 takes it back. Raises `StoreError`, `QueryError`."""
    payload = record.payload
    is_text = payload["kind"] == "text"
    given = Vote(
        query=VotedQuery(tuple(map(_to_asked_part, search.chips)), parse_filters(search.filters)),
        id=record.id,
        content=str(payload["content"]),
        vote=vote,
        path=None if is_text else resolve_display_path(payload["paths"][0]),
        text=payload["text"] if is_text else None,
    )
    feedback.record_vote(local_dir(search.collection), given)


def _to_asked_part(piece: QueryChip) -> VotedQueryPart:
    weight = piece.weight if piece.positive else -piece.weight
    if not piece.is_image:
        return VotedQueryPart(text=piece.value, weight=weight)
    kind, _, name = piece.value.partition(":")
    if kind == "id":
        return VotedQueryPart(id=name, weight=weight)
    path = find_upload(name)
    if path is None:
        raise QueryError("The picture of this search is kept no longer; drop it in again.")
    return VotedQueryPart(image=str(path), weight=weight)


def _with_stored_image(folder: Path, part: VotedQueryPart) -> VotedQueryPart:
    """`part` as votes name it: a picture by the collection's own copy."""
    if not part.image:
        return part
    return replace(part, image=str(feedback.locate_image_copy(folder, Path(part.image))))


@lru_cache(maxsize=8)
def _load_by_query(folder: Path, version: tuple[int, int]) -> Mapping[Key, Mapping[str, int]]:
    """All votes of a collection; they are read again once the file has another `stamp`."""
    found: dict[Key, dict[str, int]] = {}
    for vote in feedback.read_votes(folder):
        found.setdefault(vote.query.key, {})[vote.id] = vote.vote
    return found


def _file_version(folder: Path) -> tuple[int, int]:
    """Time and size of the file of votes."""
    try:
        status = (folder / feedback.VOTES_FILE).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
