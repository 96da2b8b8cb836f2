"""Reranks candidates: groups near-duplicates, and diversifies the hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.collections.schema import IMAGE, TEXT
from indexer.search.retrieval import Candidate
from indexer.types import Record, Vector

DUPLICATE_COSINE = 0.97  # from here on, two images look the same


@dataclass(slots=True)
class RankedRecord:
    """A candidate with its point, and the ids of its lower-ranked duplicates."""

    candidate: Candidate
    record: Record
    duplicates: list[str] = field(default_factory=list)

    @property
    def vector(self) -> Vector:
        vectors = self.record.vectors
        return np.asarray(vectors.get(IMAGE, vectors.get(TEXT)), dtype=np.float32)


def group_duplicates(ranked: Sequence[RankedRecord]) -> list[RankedRecord]:
    """Group images that look alike, and chunks of one text, behind the best ranked of them."""
    kept: list[RankedRecord] = []
    dim = len(ranked[0].vector) if ranked else 0
    image_vectors = np.zeros((len(ranked), dim), dtype=np.float32)  # rows of `kept`
    texts: dict[str, RankedRecord] = {}
    for item in ranked:
        if item.record.payload.get("kind") == "text":
            first = texts.setdefault(item.record.payload["content"], item)
        else:
            cosines = image_vectors[: len(kept)] @ item.vector  # (kept,)
            close = int(np.argmax(cosines)) if kept else -1
            first = kept[close] if close >= 0 and cosines[close] >= DUPLICATE_COSINE else item
        if first is item:
            if item.record.payload.get("kind") != "text":
                image_vectors[len(kept)] = item.vector
            kept.append(item)
        else:
            first.duplicates.append(item.record.id)
    return kept


def mmr(ranked: Sequence[RankedRecord], diversity: float) -> list[RankedRecord]:
    """Order by maximal marginal relevance (Carbonell and Goldstein 1998).

    The next one is argmax (1 - diversity) * score - diversity * max cosine with those chosen, with
    scores scaled to [0, 1] over the candidates.
    """
    if diversity <= 0 or len(ranked) < 3:
        return list(ranked)
    vectors = np.stack([item.vector for item in ranked])  # (n, dim)
    relevance = _scale_to_unit_range(np.array([item.candidate.z for item in ranked]))  # (n,)
    nearest = np.zeros(len(ranked))  # cosine with the nearest chosen
    remaining = np.ones(len(ranked), dtype=bool)
    order = []
    for _ in ranked:
        gain = np.where(remaining, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = int(np.argmax(gain))
        order.append(best)
        remaining[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return [ranked[i] for i in order]


def _scale_to_unit_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.ones_like(values)
