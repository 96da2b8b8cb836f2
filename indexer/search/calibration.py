"""Makes scores of different channels comparable, and tests whether a score is above chance.

A cosine means nothing by itself: 0.3 is high between text and an image, and low between two images.
So the cosines of each query are compared with those of a random sample of the collection:
z = (cosine - median) / spread. The spread is that of the lower half, so that a minority of relevant
points in the sample does not widen it. A BM25 score is in nats (a sum of log-odds), as is z^2/2 of
a normal tail: sqrt(2 * bm25) puts it on the same scale. The evidence of an image and of its
captions adds in nats, as in Fisher's method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from indexer.types import Vector

ALPHA = 0.02  # how often the best of unrelated points counts as significant
MIN_SAMPLE = 24  # points; with fewer, every hit counts as significant


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    """The scores of unrelated points for one query vector in one channel."""

    median: float
    spread: float

    def z(self, score: float) -> float:
        return (score - self.median) / self.spread

    def score(self, z: float) -> float:
        """Convert `z` to a cosine, limited to [-1, 1]."""
        return max(-1.0, min(1.0, self.median + self.spread * z))


DEFAULT_DISTRIBUTION = ScoreDistribution(0.0, 0.1)
"""For a collection with too few points to estimate from."""


def estimate_distribution(sample: NDArray[np.float32], query: Vector) -> ScoreDistribution:
    """Estimate the distribution of `query` (dim,) over `sample` (n, dim)."""
    if len(sample) < 3:
        return DEFAULT_DISTRIBUTION
    cosines = sample @ query  # (n,)
    low, median = np.percentile(cosines, [15.87, 50])  # one sigma below, and the median
    return ScoreDistribution(float(median), max(float(median - low), 1e-3))


def bm25_to_z(bm25: float) -> float:
    return math.sqrt(2 * max(bm25, 0.0))


def combine(image_z: float | None, text_z: float | None) -> float:
    """Combine the z of a point's image and of its text; one of them may be missing."""
    if image_z is None or text_z is None:
        return image_z if image_z is not None else text_z if text_z is not None else -math.inf
    if image_z <= 0 or text_z <= 0:
        return max(image_z, text_z)
    return math.hypot(image_z, text_z)


def significance_threshold(points: int) -> float:
    """The z that the best of `points` unrelated points exceeds with probability `ALPHA`."""
    return NormalDist().inv_cdf((1 - ALPHA) ** (1 / max(points, 2)))


def is_significant(best_z: float, points: int) -> bool:
    """Whether the best z of `points` is above chance; always true for few points."""
    return points < MIN_SAMPLE or best_z >= significance_threshold(points)
