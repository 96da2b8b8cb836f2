"""Votes on the hits of a search, as the collection's file has them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from app.services import file_version, local_dir
from app.state import QueryChip, Search
from app.uploads import UPLOAD_IS_GONE, find_upload
from indexer import feedback
from indexer.errors import QueryError, StoreError
from indexer.feedback import Vote, VotedQuery, VotedQueryPart
from indexer.paths import resolve_display_path
from indexer.search.query_syntax import parse_filters
from indexer.types import Record

Key = frozenset[VotedQueryPart]


def load_votes(search: Search) -> Mapping[str, int]:
    """1 or -1 for each point with a vote for this search; empty where votes cannot be read."""
    folder = local_dir(search.collection)
    parts = (_with_stored_image(folder, _to_voted_part(chip)) for chip in search.chips)
    query = VotedQuery(tuple(parts))
    with suppress(StoreError):
        return _load_by_query(folder).get(query.key, {})
    return {}


def count_votes(collection: str) -> tuple[int, int]:
    """How many thumbs up and down the collection has; raises `StoreError`."""
    folder = local_dir(collection)
    votes = [vote for hits in _load_by_query(folder).values() for vote in hits.values()]
    return votes.count(1), votes.count(-1)


def record_vote(search: Search, record: Record, vote: int) -> None:
    """Record a vote on a hit; 0 removes it. Raises `StoreError`, `QueryError`."""
    payload = record.payload
    is_text = payload["kind"] == "text"
    new = Vote(
        query=VotedQuery(tuple(map(_to_voted_part, search.chips)), parse_filters(search.filters)),
        id=record.id,
        content=str(payload["content"]),
        vote=vote,
        path=None if is_text else resolve_display_path(payload["paths"][0]),
        text=payload["text"] if is_text else None,
    )
    feedback.record_vote(local_dir(search.collection), new)


def _to_voted_part(chip: QueryChip) -> VotedQueryPart:
    if not chip.is_image:
        return VotedQueryPart(text=chip.value, weight=chip.weight)
    kind, _, name = chip.value.partition(":")
    if kind == "id":
        return VotedQueryPart(id=name, weight=chip.weight)
    path = find_upload(name)
    if path is None:
        raise QueryError(UPLOAD_IS_GONE)
    return VotedQueryPart(image=str(path), weight=chip.weight)


def _with_stored_image(folder: Path, part: VotedQueryPart) -> VotedQueryPart:
    """`part` as votes refer to it: an image by the collection's own copy."""
    if not part.image:
        return part
    return replace(part, image=str(feedback.locate_image_copy(folder, Path(part.image))))


def _load_by_query(folder: Path) -> Mapping[Key, Mapping[str, int]]:
    return _load_version(folder, file_version(folder / feedback.VOTES_FILE))


@lru_cache(maxsize=8)
def _load_version(folder: Path, version: tuple[int, int]) -> Mapping[Key, Mapping[str, int]]:
    """All votes of a collection, read again when the file has another version."""
    by_query: dict[Key, dict[str, int]] = {}
    for vote in feedback.read_votes(folder):
        by_query.setdefault(vote.query.key, {})[vote.id] = vote.vote
    return by_query
