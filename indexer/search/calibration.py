"""Makes scores of different channels comparable, and tests whether a score is above chance.

A cosine means nothing by itself: 0.3 is high between text and an image, and low between two images.
So the cosines of each query are compared with those of a random sample of the collection:
z = (cosine - median) / spread. The spread is that of the lower half, so that a minority of relevant
points in the sample does not widen it. A BM25 score is in nats (a sum of log-odds), as is z^2/2 of
a normal tail: sqrt(2 * bm25) puts it on the same scale. The evidence of an image and of its
captions adds in nats, as in Fisher's method.

Drawing the sample takes one request, which returns the vectors of up to 1,000 points (3 MB as JSON
for 384 dimensions). For a collection on a server it is cached in the index's local folder, so that
a new process makes no such request. The cache is valid for that index, for a day, and while the
number of points differs by at most a tenth. A process asks for that number at most once a minute.
"""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from embedder.files import PRIVATE, make_private_dir, replace_file
from indexer.collections.schema import IMAGE, TEXT
from indexer.stores.base import Store
from indexer.types import Vector

ALPHA = 0.02  # how often the best of unrelated points counts as significant
MIN_SAMPLE = 24  # points; with fewer, every hit counts as significant
SAMPLE_SIZE = 1_000
SAMPLE_FILE = "calibration.npz"
MAX_AGE_SECONDS = 24 * 3600.0
CHECK_INTERVAL_SECONDS = 60.0
MAX_GROWTH = 0.1  # share of the points that may have come or gone


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


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """`vectors` by channel, each (n, dim), of an index with `points` points."""

    vectors: dict[str, NDArray[np.float32]]
    points: int
    sampled_at: float  # seconds since the epoch

    def is_valid(self, points: int) -> bool:
        age = time.time() - self.sampled_at
        return 0 <= age < MAX_AGE_SECONDS and abs(points - self.points) <= MAX_GROWTH * self.points


class CalibrationSampler:
    """Draws the sample when it is first needed, and again once it is invalid. Thread-safe.

    Args:
        store: The store with the index's points.
        dim: The dimension of its vectors.
        cache_dir: The folder that caches the sample for other processes; None: no cache.
        num_points: The number of points when the index was opened, if known.
    """

    def __init__(
        self, store: Store, dim: int, cache_dir: Path | None = None, num_points: int | None = None
    ) -> None:
        self._store, self._dim = store, dim
        self._file = cache_dir / SAMPLE_FILE if cache_dir else None
        self._num_points = num_points
        self._sample: CalibrationSample | None = None
        self._checked_at = float("-inf")  # time.monotonic()
        self._lock = threading.Lock()

    def __call__(self) -> CalibrationSample:
        with self._lock:
            sample = self._sample
            if sample and time.monotonic() - self._checked_at < CHECK_INTERVAL_SECONDS:
                return sample
            points, self._num_points = self._num_points, None  # only the first time
            if points is None:
                points = self._store.count()
            sample = sample or self._read()
            if sample is None or not sample.is_valid(points):
                sample = self._draw(points)
                self._write(sample)
            self._sample, self._checked_at = sample, time.monotonic()
            return sample

    def _draw(self, points: int) -> CalibrationSample:
        from qdrant_client import models

        request = models.QueryRequest(
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            limit=SAMPLE_SIZE,
            with_vector=[IMAGE, TEXT],
        )
        rows: dict[str, list[list[float]]] = {IMAGE: [], TEXT: []}
        for point in self._store.query_batch([request])[0]:
            for name, vector in point.vectors.items():
                rows[name].append(vector)
        arrays = {
            name: np.asarray(vectors, dtype=np.float32).reshape(-1, self._dim)
            for name, vectors in rows.items()
        }
        return CalibrationSample(arrays, points, time.time())

    def _read(self) -> CalibrationSample | None:
        """The sample that another process drew; None if there is none that is usable."""
        if self._file is None:
            return None
        try:
            with np.load(self._file, allow_pickle=False) as arrays:
                vectors = {name: arrays[name].astype(np.float32) for name in (IMAGE, TEXT)}
                points, sampled_at = int(arrays["points"]), float(arrays["sampled_at"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        if any(array.ndim != 2 or array.shape[1] != self._dim for array in vectors.values()):
            return None
        return CalibrationSample(vectors, points, sampled_at)

    def _write(self, sample: CalibrationSample) -> None:
        """Replace the file atomically; if that fails, the next process draws its own."""
        if self._file is None:
            return
        numbers = {"points": sample.points, "sampled_at": sample.sampled_at}
        with suppress(OSError):
            make_private_dir(self._file.parent)
            with replace_file(self._file, mode=PRIVATE) as file:
                np.savez(file, allow_pickle=False, **sample.vectors, **numbers)
