"""Asks every channel for candidates, scores each candidate in all of them, and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.calibration import Scale, together, words_z
from indexer.composing import Composed
from indexer.schema import BM25, IMAGE, TEXT
from indexer.stores.protocol import Store

if TYPE_CHECKING:
    from qdrant_client import models

Raw = dict[str, float]
"""Channel -> raw score: cosines, and BM25 in nats."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate: `z` orders, `score` is the cosine that stands for it."""

    id: str
    z: float
    score: float
    raw: Raw


def rank(store: Store, query: Composed, where: models.Filter | None, depth: int) -> list[Ranked]:
    """The best `depth` of each channel, fused; best first, ties by id."""
    from qdrant_client import models

    channels = _channels(query)
    found: dict[str, Raw] = {}
    _collect(store, [_request(query, channel, where, depth) for channel in channels], found)
    gaps = []
    for channel in channels:
        ids = [id for id, raw in found.items() if channel not in raw]
        if ids and len(ids) <= len(found) - depth:  # a channel that gave fewer has no more to give
            among = models.Filter(must=[models.HasIdCondition(has_id=[*ids])])
            gaps.append(_request(query, channel, among, len(ids)))
    _collect(store, gaps, found)
    base = _base(query, found)
    ranked = [_ranked(id, raw, query, base) for id, raw in found.items() if id not in query.own]
    return sorted(ranked, key=lambda r: (-r.z, r.id))


def _channels(query: Composed) -> list[str]:
    return [IMAGE, TEXT, *([BM25] if query.words.indices else [])]


def _request(
    query: Composed, channel: str, where: models.Filter | None, limit: int
) -> models.QueryRequest:
    from qdrant_client import models

    return models.QueryRequest.model_construct(
        query=_vector(query, channel), using=channel, filter=where, limit=limit
    )


def _collect(store: Store, requests: Sequence[models.QueryRequest], found: dict[str, Raw]) -> None:
    answers = store.query_batch(requests) if requests else []
    for request, points in zip(requests, answers, strict=True):
        channel = str(request.using)
        for point in points:
            found.setdefault(point.id, {})[channel] = point.score


def _vector(query: Composed, channel: str) -> list[float] | models.SparseVector:
    from qdrant_client import models

    if channel == BM25:
        return models.SparseVector(
            indices=list(query.words.indices), values=list(query.words.values)
        )
    values: list[float] = query.vectors[channel].tolist()
    return values


def _base(query: Composed, found: dict[str, Raw]) -> Scale:
    """Scores are told on the scale of pictures, or of texts where there is no picture."""
    seen = any(IMAGE in raw for raw in found.values())
    return query.scales[IMAGE if seen else TEXT]


def _ranked(id: str, raw: Raw, query: Composed, base: Scale) -> Ranked:
    seen = query.scales[IMAGE].z(raw[IMAGE]) if IMAGE in raw else None
    written = _written(raw, query) if query.has_text or seen is None else None
    z = together(seen, written)
    own = raw.get(IMAGE) if base is query.scales[IMAGE] else raw.get(TEXT)
    alone = own is not None and z == base.z(own)
    return Ranked(id, z, own if alone and own is not None else base.score(z), raw)


def _written(raw: Raw, query: Composed) -> float | None:
    """What captions say, by meaning or by the word: they are the same words, and count once."""
    meaning = query.scales[TEXT].z(raw[TEXT]) if TEXT in raw else None
    if BM25 not in raw:
        return meaning
    return max(words_z(raw[BM25]), meaning if meaning is not None else 0.0)
