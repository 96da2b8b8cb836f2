"""Near-duplicates behind the best of them, and diversity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.ranking import Ranked
from indexer.schema import IMAGE, TEXT
from indexer.types import Record, Vector

SAME = 0.97  # cosine from which two pictures are one to the eye


@dataclass(slots=True)
class Found:
    """A ranked candidate with its point, and those that stand behind it."""

    ranked: Ranked
    record: Record
    behind: list[str] = field(default_factory=list)

    @property
    def vector(self) -> Vector:
        vectors = self.record.vectors
        return np.asarray(vectors.get(IMAGE, vectors.get(TEXT)), dtype=np.float32)


def fold(found: Sequence[Found]) -> list[Found]:
    """Hide pictures that look alike, and passages of one text, behind the best ranked of them."""
    kept: list[Found] = []
    pictures = np.zeros((len(found), _dim(found)), dtype=np.float32)  # rows of what is kept
    texts: dict[str, Found] = {}
    for item in found:
        if item.record.payload.get("kind") == "text":
            first = texts.setdefault(item.record.payload["content"], item)
        else:
            cosines = pictures[: len(kept)] @ item.vector  # (kept,)
            close = int(np.argmax(cosines)) if kept else -1
            first = kept[close] if close >= 0 and cosines[close] >= SAME else item
        if first is item:
            if item.record.payload.get("kind") != "text":
                pictures[len(kept)] = item.vector
            kept.append(item)
        else:
            first.behind.append(item.record.id)
    return kept


def diversify(found: Sequence[Found], diversity: float) -> list[Found]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): each next one is good and new.

    argmax (1 - diversity) * score - diversity * max cosine with those chosen; scores are scaled to
    [0, 1] over the candidates.
    """
    if diversity <= 0 or len(found) < 3:
        return list(found)
    vectors = np.stack([item.vector for item in found])  # (n, dim)
    relevance = _unit_range(np.array([item.ranked.z for item in found]))  # (n,)
    nearest = np.zeros(len(found))  # cosine with the nearest chosen
    left = np.ones(len(found), dtype=bool)
    order = []
    for _ in found:
        gain = np.where(left, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = int(np.argmax(gain))
        order.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return [found[i] for i in order]


def _unit_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.ones_like(values)


def _dim(found: Sequence[Found]) -> int:
    return len(found[0].vector) if found else 0
