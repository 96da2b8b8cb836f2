"""Where hard negatives are looked for: a collection's store, or a list of documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from embedder.types import Role, Vectors
from finetune.data.collection_sides import side_from_payload
from finetune.data.content_keys import ContentKeys
from finetune.data.pairs import Side
from indexer.collections.schema import IMAGE, TEXT
from indexer.ids import make_point_ids
from indexer.types import Vector

if TYPE_CHECKING:
    from indexer.stores.base import ScoredPoint, Store

EmbedSides = Callable[[Sequence[Side], Role], Vectors]
"""Sides -> (n, dim) unit rows."""

RETRIEVE_BATCH = 500  # points that are retrieved at a time


class Candidate(NamedTuple):
    """A document, its cosine with the query, and its own vector."""

    side: Side
    score: float
    vector: Vector


class CandidateIndex(Protocol):
    """Documents that a query can be put to."""

    def lookup_vectors(self, sides: Sequence[Side]) -> dict[int, Vector]:
        """The vectors of those of `sides` that the pool knows, by their places."""
        ...

    def search(
        self, queries: Vectors, has_image: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        """For each query (n, dim) its best documents, best first: those with a picture where
        `pictured` says so, else those without."""
        ...


class DocumentIndex:
    """A list of documents, embedded here, each content once."""

    def __init__(self, sides: Sequence[Side], embed: EmbedSides, content_keys: ContentKeys) -> None:
        self._content_keys = content_keys
        distinct = {content_keys.hash_side(side): side for side in reversed(sides)}
        self._sides = list(reversed(distinct.values()))
        self._rows = {key: i for i, key in enumerate(reversed(distinct))}
        self._vectors = embed(self._sides, "document")  # (m, dim)
        self._has_image = np.array([bool(side.image) for side in self._sides], dtype=bool)

    def lookup_vectors(self, sides: Sequence[Side]) -> dict[int, Vector]:
        keys = [self._content_keys.hash_side(side) for side in sides]
        rows = [(i, self._rows.get(key)) for i, key in enumerate(keys)]
        return {i: self._vectors[row] for i, row in rows if row is not None}

    def search(
        self, queries: Vectors, has_image: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        if not self._sides:
            return [[] for _ in queries]
        scores = queries @ self._vectors.T  # (n, m)
        scores[np.array(has_image)[:, None] != self._has_image[None]] = -np.inf
        return [[self._candidate(i, row[i]) for i in _top_rows(row, limit)] for row in scores]

    def _candidate(self, row: int, score: float) -> Candidate:
        return Candidate(self._sides[row], float(score), self._vectors[row])


class CollectionIndex:
    """A collection's pictures and passages, with the vectors that its store has."""

    def __init__(self, store: Store, content_keys: ContentKeys) -> None:
        self._store, self._content_keys = store, content_keys

    def lookup_vectors(self, sides: Sequence[Side]) -> dict[int, Vector]:
        """Pictures alone: what is written beside one is another vector."""
        rows_by_id: dict[str, list[int]] = defaultdict(
            list
        )  # a point's id -> where it is asked for
        for row, side in enumerate(sides):
            if side.image and not side.text:
                rows_by_id[make_point_ids(self._content_keys.hash_file(side.image))[0]].append(row)
        found: dict[int, Vector] = {}
        ids = list(rows_by_id)
        for start in range(0, len(ids), RETRIEVE_BATCH):
            for record in self._store.retrieve(ids[start : start + RETRIEVE_BATCH], vectors=True):
                vector = np.asarray(record.vectors[IMAGE], np.float32)
                found |= dict.fromkeys(rows_by_id[record.id], vector)
        return found

    def search(
        self, queries: Vectors, has_image: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        from qdrant_client import models

        from indexer.search.filters import build_store_filter

        channels = {True: (IMAGE, "image"), False: (TEXT, "text")}
        requests = []
        for query, image_wanted in zip(queries, has_image, strict=True):
            channel, kind = channels[image_wanted]
            request = models.QueryRequest(
                query=query.tolist(),
                using=channel,
                filter=build_store_filter({"kind": (kind,)}),
                limit=limit,
                with_payload=True,
                with_vector=[channel],
            )
            requests.append(request)
        return [_to_candidates(points) for points in self._store.query_batch(requests)]


def _top_rows(scores: Vector, limit: int) -> list[int]:
    """The places of the highest finite scores (m,), highest first."""
    top: Iterable[int]
    top = np.argpartition(-scores, limit)[:limit] if limit < len(scores) else range(len(scores))
    best = sorted(top, key=lambda place: (-scores[place], place))
    return [int(row) for row in best if np.isfinite(scores[row])]


def _to_candidates(points: Sequence[ScoredPoint]) -> list[Candidate]:
    found = []
    for point in points:
        side = side_from_payload(point.payload or {})
        vector = next(iter(point.vectors.values()))
        if side is not None:
            found.append(Candidate(side, point.score, np.asarray(vector, np.float32)))
    return found
