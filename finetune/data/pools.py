"""Where hard negatives are looked for: a collection's store, or a list of documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from embedder.types import Role, Vectors
from finetune.data.identity import Identities
from finetune.data.pairs import Side
from finetune.data.points import document
from indexer.identity import point_ids
from indexer.schema import IMAGE, TEXT
from indexer.types import Vector

if TYPE_CHECKING:
    from indexer.stores.protocol import Scored, Store

Embed = Callable[[Sequence[Side], Role], Vectors]
"""Sides -> (n, dim) unit rows."""

BATCH = 500  # points that are retrieved at a time


class Candidate(NamedTuple):
    """A document, its cosine with the query, and its own vector."""

    side: Side
    score: float
    vector: Vector


class Pool(Protocol):
    """Documents that a query can be put to."""

    def stored(self, sides: Sequence[Side]) -> dict[int, Vector]:
        """The vectors of those of `sides` that the pool knows, by their places."""
        ...

    def search(
        self, queries: Vectors, pictured: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        """For each query (n, dim) its best documents, best first: those with a picture where
        `pictured` says so, else those without."""
        ...


class Documents:
    """A list of documents, embedded here, each content once."""

    def __init__(self, sides: Sequence[Side], embed: Embed, identities: Identities) -> None:
        self._identities = identities
        distinct = {identities.of(side): side for side in reversed(sides)}
        self._sides = list(reversed(distinct.values()))
        self._places = {key: i for i, key in enumerate(reversed(distinct))}
        self._vectors = embed(self._sides, "document")  # (m, dim)
        self._pictured = np.array([bool(side.image) for side in self._sides], dtype=bool)

    def stored(self, sides: Sequence[Side]) -> dict[int, Vector]:
        keys = [self._identities.of(side) for side in sides]
        known = [(i, self._places.get(key)) for i, key in enumerate(keys)]
        return {i: self._vectors[place] for i, place in known if place is not None}

    def search(
        self, queries: Vectors, pictured: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        if not self._sides:
            return [[] for _ in queries]
        scores = queries @ self._vectors.T  # (n, m)
        scores[np.array(pictured)[:, None] != self._pictured[None]] = -np.inf
        return [[self._candidate(i, row[i]) for i in _best(row, limit)] for row in scores]

    def _candidate(self, place: int, score: float) -> Candidate:
        return Candidate(self._sides[place], float(score), self._vectors[place])


class Points:
    """A collection's pictures and passages, with the vectors that its store has."""

    def __init__(self, store: Store, identities: Identities) -> None:
        self._store, self._identities = store, identities

    def stored(self, sides: Sequence[Side]) -> dict[int, Vector]:
        """Pictures alone: what is written beside one is another vector."""
        places: dict[str, list[int]] = defaultdict(list)  # a point's id -> where it is asked for
        for place, side in enumerate(sides):
            if side.image and not side.text:
                places[point_ids(self._identities.content(side.image))[0]].append(place)
        found: dict[int, Vector] = {}
        ids = list(places)
        for start in range(0, len(ids), BATCH):
            for record in self._store.retrieve(ids[start : start + BATCH], vectors=True):
                vector = np.asarray(record.vectors[IMAGE], np.float32)
                found |= dict.fromkeys(places[record.id], vector)
        return found

    def search(
        self, queries: Vectors, pictured: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        from qdrant_client import models

        from indexer.filters import store_filter

        wanted = {True: (IMAGE, "image"), False: (TEXT, "text")}
        requests = []
        for query, seen in zip(queries, pictured, strict=True):
            channel, kind = wanted[seen]
            request = models.QueryRequest(
                query=query.tolist(),
                using=channel,
                filter=store_filter({"kind": (kind,)}),
                limit=limit,
                with_payload=True,
                with_vector=[channel],
            )
            requests.append(request)
        return [_candidates(points) for points in self._store.query_batch(requests)]


def _best(scores: Vector, limit: int) -> list[int]:
    """The places of the highest finite scores (m,), highest first."""
    some: Iterable[int]
    some = np.argpartition(-scores, limit)[:limit] if limit < len(scores) else range(len(scores))
    best = sorted(some, key=lambda place: (-scores[place], place))
    return [int(place) for place in best if np.isfinite(scores[place])]


def _candidates(points: Sequence[Scored]) -> list[Candidate]:
    found = []
    for point in points:
        side = document(point.payload or {})
        vector = next(iter(point.vectors.values()))
        if side is not None:
            found.append(Candidate(side, point.score, np.asarray(vector, np.float32)))
    return found
