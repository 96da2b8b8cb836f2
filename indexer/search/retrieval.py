"""Asks every channel for candidates, scores each candidate in all of them, and ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.collections.schema import BM25, IMAGE, TEXT
from indexer.search.calibration import ScoreDistribution, bm25_to_z, combine
from indexer.search.query_vectors import QueryVectors
from indexer.stores.base import Store

if TYPE_CHECKING:
    from qdrant_client import models

ChannelScores = dict[str, float]
"""Channel -> raw score: cosines, and BM25 in nats."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate: `z` orders, `score` is the cosine that stands for it."""

    id: str
    z: float
    score: float
    channel_scores: ChannelScores


def retrieve_candidates(
    store: Store, query: QueryVectors, store_filter: models.Filter | None, limit: int
) -> list[Candidate]:
    """The best `limit` of each channel, scored in all channels and fused; best first, ties by id."""
    from qdrant_client import models

    channels = [IMAGE, TEXT, *([BM25] if query.sparse.indices else [])]
    requests = [
        models.QueryRequest.model_construct(
            query=_get_vector(query, channel), using=channel, filter=store_filter, limit=limit
        )
        for channel in channels
    ]
    found: dict[str, ChannelScores] = {}
    for channel, points in zip(channels, store.query_union(requests), strict=True):
        for point in points:
            found.setdefault(point.id, {})[channel] = point.score
    base = _reference_distribution(query, found)
    ranked = [
        _score_candidate(id, raw, query, base)
        for id, raw in found.items()
        if id not in query.query_ids
    ]
    return sorted(ranked, key=lambda r: (-r.z, r.id))


def _get_vector(query: QueryVectors, channel: str) -> list[float] | models.SparseVector:
    from qdrant_client import models

    if channel == BM25:
        return models.SparseVector(
            indices=list(query.sparse.indices), values=list(query.sparse.values)
        )
    values: list[float] = query.vectors[channel].tolist()
    return values


def _reference_distribution(
    query: QueryVectors, found: dict[str, ChannelScores]
) -> ScoreDistribution:
    """Scores are told on the scale of pictures, or of texts where there is no picture."""
    seen = any(IMAGE in raw for raw in found.values())
    return query.distributions[IMAGE if seen else TEXT]


def _score_candidate(
    id: str, raw: ChannelScores, query: QueryVectors, base: ScoreDistribution
) -> Candidate:
    seen = query.distributions[IMAGE].z(raw[IMAGE]) if IMAGE in raw else None
    written = _fuse_text_scores(raw, query) if query.has_text or seen is None else None
    z = combine(seen, written)
    own = raw.get(IMAGE) if base is query.distributions[IMAGE] else raw.get(TEXT)
    alone = own is not None and z == base.z(own)
    return Candidate(id, z, own if alone and own is not None else base.score(z), raw)


def _fuse_text_scores(raw: ChannelScores, query: QueryVectors) -> float | None:
    """What captions say, by meaning or by the word: they are the same words, and count once."""
    meaning = query.distributions[TEXT].z(raw[TEXT]) if TEXT in raw else None
    if BM25 not in raw:
        return meaning
    return max(bm25_to_z(raw[BM25]), meaning if meaning is not None else 0.0)
