"""Retrieves candidates from every channel and fuses their scores."""

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
    """A candidate, ordered by `z`; `score` is the cosine that corresponds to it."""

    id: str
    z: float
    score: float
    channel_scores: ChannelScores


def retrieve_candidates(
    store: Store, query: QueryVectors, store_filter: models.Filter | None, limit: int
) -> list[Candidate]:
    """Find the best `limit` of each channel, score them in all channels, and fuse the scores."""
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
    """The channel whose cosines are shown: images, or texts where no image was found."""
    has_images = any(IMAGE in raw for raw in found.values())
    return query.distributions[IMAGE if has_images else TEXT]


def _score_candidate(
    id: str, raw: ChannelScores, query: QueryVectors, base: ScoreDistribution
) -> Candidate:
    image_z = query.distributions[IMAGE].z(raw[IMAGE]) if IMAGE in raw else None
    text_z = _fuse_text_scores(raw, query) if query.has_text or image_z is None else None
    z = combine(image_z, text_z)
    cosine = raw.get(IMAGE) if base is query.distributions[IMAGE] else raw.get(TEXT)
    is_exact = cosine is not None and z == base.z(cosine)
    return Candidate(id, z, cosine if is_exact and cosine is not None else base.score(z), raw)


def _fuse_text_scores(raw: ChannelScores, query: QueryVectors) -> float | None:
    """The z of the captions: embedding or BM25, whichever is higher, as both see the same text."""
    embedding_z = query.distributions[TEXT].z(raw[TEXT]) if TEXT in raw else None
    if BM25 not in raw:
        return embedding_z
    return max(bm25_to_z(raw[BM25]), embedding_z if embedding_z is not None else 0.0)
