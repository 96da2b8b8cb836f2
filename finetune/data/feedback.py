"""Pairs from the thumbs that people gave to hits: `finetune pairs --from-feedback`.

What was found good for a query is a positive of it, what was found bad a hard negative of all its
positives. A query of words and a picture is one side, as a model that composes takes it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from finetune.data.gathered import Gathered
from finetune.data.pairs import Pair, Side
from finetune.data.points import document, existing
from finetune.errors import DataError
from indexer.collection import Collection
from indexer.feedback import Asked, AskedPart, Vote, read

ONLY_BAD = "query with thumbs down alone"
UNUSABLE = "query that is no words, nor one picture that is still there"
GONE = "vote on something that is gone"


def from_feedback(collection: Collection) -> Gathered:
    """A pair for each thumb up; raises `DataError` where there is none, `StoreError`."""
    votes: dict[object, list[Vote]] = defaultdict(list)
    for vote in read(collection.path):
        votes[vote.query.key].append(vote)
    if not votes:
        raise DataError(
            f"nobody has voted on hits of collection {collection.name!r} yet: type make app, "
            "search, and give thumbs up and down"
        )
    left_out: Counter[str] = Counter()
    pairs = [pair for group in votes.values() for pair in _pairs(group, collection, left_out)]
    if not pairs:
        said = ", ".join(f"{count} x {reason}" for reason, count in left_out.items())
        raise DataError(f"the votes on collection {collection.name!r} give no pairs ({said})")
    return Gathered(pairs, left_out)


def _pairs(votes: Sequence[Vote], collection: Collection, left_out: Counter[str]) -> list[Pair]:
    """The pairs of one query."""
    if all(vote.vote < 0 for vote in votes):
        left_out[ONLY_BAD] += 1
        return []
    query = _query(votes[0].query, collection)
    if query is None:
        left_out[UNUSABLE] += 1
        return []
    sides = [(vote, _found(vote, collection)) for vote in votes]
    left_out[GONE] += sum(side is None for _, side in sides)
    bad = tuple(side for vote, side in sides if side is not None and vote.vote < 0)
    return [
        Pair(query, side, bad, None, vote.content, collection.name)
        for vote, side in sides
        if side is not None and vote.vote > 0
    ]


def _query(asked: Asked, collection: Collection) -> Side | None:
    """What was wanted, as one side; what was not wanted is no part of it."""
    sides = [_part(part, collection) for part in asked.parts if part.weight > 0]
    pictures = [side.image for side in sides if side and side.image]
    words = ", ".join(side.text for side in sides if side and side.text)
    if not sides or None in sides or len(pictures) > 1:
        return None
    return Side(words or None, pictures[0] if pictures else None)


def _part(part: AskedPart, collection: Collection) -> Side | None:
    if part.id:
        return _point(part.id, collection)
    if part.image:
        path = existing([part.image])
        return Side(image=path) if path else None
    return Side(part.text) if part.text and part.text.strip() else None


def _found(vote: Vote, collection: Collection) -> Side | None:
    """What was voted on: as it was, or where it is now."""
    if vote.text:
        return Side(vote.text)
    path = existing([vote.path]) if vote.path else None
    return Side(image=path) if path else _point(vote.id, collection)


def _point(id: str, collection: Collection) -> Side | None:
    return next((document(point.payload) for point in collection.store.retrieve([id])), None)
