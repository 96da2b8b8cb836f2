"""Pairs from the thumbs that people gave to hits: `finetune pairs --from-feedback`.

What was found good for a query is a positive of it, what was found bad a hard negative of all its
positives. A query of words and a picture is one side, as a model that composes takes it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from finetune.data.collection_sides import first_existing, side_from_payload
from finetune.data.pairs import Pair, Side
from finetune.data.source_pairs import SourcePairs
from finetune.errors import DataError
from indexer.collections.collection import OpenCollection
from indexer.feedback import Vote, VotedQuery, VotedQueryPart, read_votes

ONLY_NEGATIVE_VOTES = "query with thumbs down alone"
UNUSABLE_QUERY = "query that is no words, nor one picture that is still there"
TARGET_MISSING = "vote on something that is gone"


def from_feedback(collection: OpenCollection) -> SourcePairs:
    """A pair for each thumb up; raises `DataError` where there is none, `StoreError`."""
    votes: dict[object, list[Vote]] = defaultdict(list)
    for vote in read_votes(collection.path):
        votes[vote.query.key].append(vote)
    if not votes:
        raise DataError(
            f"nobody has voted on hits of collection {collection.name!r} yet: type make app, "
            "search, and give thumbs up and down"
        )
    left_out: Counter[str] = Counter()
    pairs = [pair for group in votes.values() for pair in _query_pairs(group, collection, left_out)]
    if not pairs:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in left_out.items())
        raise DataError(f"the votes on collection {collection.name!r} give no pairs ({reasons})")
    return SourcePairs(pairs, left_out)


def _query_pairs(
    votes: Sequence[Vote], collection: OpenCollection, left_out: Counter[str]
) -> list[Pair]:
    """The pairs of one query."""
    if all(vote.vote < 0 for vote in votes):
        left_out[ONLY_NEGATIVE_VOTES] += 1
        return []
    query = _query_side(votes[0].query, collection)
    if query is None:
        left_out[UNUSABLE_QUERY] += 1
        return []
    sides = [(vote, _vote_side(vote, collection)) for vote in votes]
    left_out[TARGET_MISSING] += sum(side is None for _, side in sides)
    negatives = tuple(side for vote, side in sides if side is not None and vote.vote < 0)
    return [
        Pair(query, side, negatives, None, vote.content, collection.name)
        for vote, side in sides
        if side is not None and vote.vote > 0
    ]


def _query_side(query: VotedQuery, collection: OpenCollection) -> Side | None:
    """What was wanted, as one side; what was not wanted is no part of it."""
    sides = [_part_side(part, collection) for part in query.parts if part.weight > 0]
    images = [side.image for side in sides if side and side.image]
    text = ", ".join(side.text for side in sides if side and side.text)
    if not sides or None in sides or len(images) > 1:
        return None
    return Side(text or None, images[0] if images else None)


def _part_side(part: VotedQueryPart, collection: OpenCollection) -> Side | None:
    if part.id:
        return _point_side(part.id, collection)
    if part.image:
        path = first_existing([part.image])
        return Side(image=path) if path else None
    return Side(part.text) if part.text and part.text.strip() else None


def _vote_side(vote: Vote, collection: OpenCollection) -> Side | None:
    """What was voted on: as it was, or where it is now."""
    if vote.text:
        return Side(vote.text)
    path = first_existing([vote.path]) if vote.path else None
    return Side(image=path) if path else _point_side(vote.id, collection)


def _point_side(id: str, collection: OpenCollection) -> Side | None:
    return next(
        (side_from_payload(point.payload) for point in collection.store.retrieve([id])), None
    )
