"""Votes on the hits of a search: stored with the collection, cast with thumbs on each hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from app.caching import cache_by_file
from app.media import UPLOAD_IS_GONE, find_upload
from app.services import local_dir
from app.state import Search
from indexer import feedback
from indexer.errors import QueryError, StoreError
from indexer.feedback import Vote, VotedQuery
from indexer.paths import resolve_display_path
from indexer.search.query_syntax import UPLOAD_PREFIX
from indexer.types import QueryTerm, Record

HELP = "Stored on this machine, with the collection; a model can be trained on it (page Quality)."


def load_votes(search: Search) -> Mapping[str, int]:
    """1 or -1 for each point with a vote for this search; empty where votes cannot be read."""
    folder = local_dir(search.collection)
    parts = frozenset(
        # an image is compared with the collection's own copy of it
        replace(part, image=str(feedback.locate_image_copy(folder, Path(part.image))))
        if part.image
        else part
        for part in map(_to_voted_term, search.terms)
    )
    with suppress(StoreError):
        return _read_by_query(folder / feedback.VOTES_FILE).get(parts, {})
    return {}


def count_votes(collection: str) -> tuple[int, int]:
    """How many thumbs up and down the collection has; raises `StoreError`."""
    by_query = _read_by_query(local_dir(collection) / feedback.VOTES_FILE)
    votes = [vote for by_id in by_query.values() for vote in by_id.values()]
    return votes.count(1), votes.count(-1)


@cache_by_file(maxsize=8)
def _read_by_query(file: Path) -> dict[frozenset[QueryTerm], dict[str, int]]:
    """All votes of a collection: the query -> a point's id -> its vote."""
    by_query: dict[frozenset[QueryTerm], dict[str, int]] = {}
    for vote in feedback.read_votes(file.parent):
        by_query.setdefault(vote.query.key, {})[vote.id] = vote.vote
    return by_query


def record_votes(search: Search, votes: Sequence[tuple[Record, int]]) -> None:
    """Record votes on hits; 0 removes one. Raises `StoreError`, `QueryError`."""
    query = VotedQuery(tuple(map(_to_voted_term, search.terms)), search.filters)
    new = []
    for record, vote in votes:
        payload = record.payload
        is_text = payload["kind"] == "text"
        new.append(
            Vote(
                query=query,
                id=record.id,
                content=str(payload["content"]),
                vote=vote,
                path=None if is_text else resolve_display_path(payload["paths"][0]),
                text=payload["text"] if is_text else None,
            )
        )
    feedback.record_votes(local_dir(search.collection), *new)


def _to_voted_term(term: QueryTerm) -> QueryTerm:
    """`term` with the path of its image."""
    if term.image is None:
        return term
    path = find_upload(term.image.removeprefix(UPLOAD_PREFIX))
    if path is None:
        raise QueryError(UPLOAD_IS_GONE)
    return replace(term, image=str(path))
