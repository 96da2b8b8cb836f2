"""Puts scores of different kinds on one scale, and says what chance alone would give.

A cosine means nothing by itself: 0.3 is much between words and a picture, and little between two
pictures. So each query's cosines are compared with those of a random sample of the collection:
z = (cosine - median) / spread. The spread is that of the lower half, so that a minority of true
answers in the sample does not widen it. A word's BM25 score is in nats (a sum of log-odds), and so
is z^2/2 of a normal tail: sqrt(2 * bm25) puts words on the same scale. Evidence of a picture and
of what is written about it adds in nats, as in Fisher's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from indexer.types import Vector

ALPHA = 0.02  # of no answer at all, a best hit this good comes this often
MIN_SAMPLE = 24  # below so many points nothing can be said of chance


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    """Where unrelated points lie for one query vector in one channel."""

    median: float
    spread: float

    def z(self, score: float) -> float:
        return (score - self.median) / self.spread

    def score(self, z: float) -> float:
        """The cosine that stands for `z`, kept within [-1, 1]."""
        return max(-1.0, min(1.0, self.median + self.spread * z))


DEFAULT_DISTRIBUTION = ScoreDistribution(0.0, 0.1)
"""Where the collection holds too little to tell."""


def estimate_distribution(sample: NDArray[np.float32], query: Vector) -> ScoreDistribution:
    """The scale of `query` (dim,) against `sample` (n, dim)."""
    if len(sample) < 3:
        return DEFAULT_DISTRIBUTION
    cosines = sample @ query  # (n,)
    low, middle = np.percentile(cosines, [15.87, 50])  # one sigma below, and the middle
    return ScoreDistribution(float(middle), max(float(middle - low), 1e-3))


def bm25_to_z(bm25: float) -> float:
    return math.sqrt(2 * max(bm25, 0.0))


def combine(image_z: float | None, text_z: float | None) -> float:
    """The z of a point that was seen, was written about, or both (at least one)."""
    if image_z is None or text_z is None:
        return image_z if image_z is not None else text_z if text_z is not None else -math.inf
    if image_z <= 0 or text_z <= 0:
        return max(image_z, text_z)
    return math.hypot(image_z, text_z)


def significance_threshold(points: int) -> float:
    """The z that the best of `points` unrelated points passes with probability `SURPRISE`."""
    return NormalDist().inv_cdf((1 - ALPHA) ** (1 / max(points, 2)))


def is_significant(best_z: float, points: int) -> bool:
    """Whether the best z is more than chance; few points always get the benefit of the doubt."""
    return points < MIN_SAMPLE or best_z >= significance_threshold(points)
