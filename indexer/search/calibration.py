"""Makes scores of different channels comparable.

A cosine means nothing by itself: 0.3 is high between text and an image, and low between two images.
So the cosines of each query are compared with those of a random sample of the collection:
z = (cosine - median) / spread. The spread is that of the lower half, so that a minority of relevant
points in the sample does not widen it. `indexer.search.fusion` makes one z of several channels.

Drawing the sample takes one request, which returns the vectors of up to 1,000 points (3 MB as JSON
for 384 dimensions). For a collection on a server it is cached in the index's local folder, so that
a new process makes no such request. The cache is valid for that index, for a day, and while the
number of points differs by at most a tenth. A process asks for that number at most once a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from embedder.files import PRIVATE, make_private_dir, replace_file
from indexer.collections.schema import BM25, IMAGE, NAME
from indexer.search.duplicates import estimate_crop_cosine
from indexer.stores.base import Store
from indexer.types import SparseVector, Vector

FULL_NAME_FIT = 0.9  # from which names count in full; chosen on names of which some were exchanged
NAME_FIT_ROWS = 128  # sampled names that are compared with the sampled images
SAMPLE_SIZE = 1_000
MIN_ROWS = 3  # different cosines that a distribution is estimated from
PRIOR_ROWS = 8  # that weigh as much as the default
SAMPLE_FILE = "calibration.npz"
SAMPLE_FORMAT = 2  # 1 did not say which vectors are of one point
MAX_AGE_SECONDS = 24 * 3600.0
CHECK_INTERVAL_SECONDS = 60.0
MAX_GROWTH = 0.1  # share of the points that may have come or gone

FloatOrArray = TypeVar("FloatOrArray", float, NDArray[np.float64])


@dataclass(frozen=True, slots=True)
class ScoreDistribution:
    """The scores of unrelated points for one query vector in one channel."""

    median: float
    spread: float

    def z(self, scores: FloatOrArray) -> FloatOrArray:
        return (scores - self.median) / self.spread

    def score(self, z: float) -> float:
        """Convert `z` to a cosine, limited to [-1, 1]."""
        return max(-1.0, min(1.0, self.median + self.spread * z))


DEFAULT_DISTRIBUTION = ScoreDistribution(0.0, 0.1)
"""For a collection with too few points to estimate from."""


def estimate_distribution(cosines: NDArray[np.floating]) -> ScoreDistribution:
    """Estimate the distribution of unrelated points from the cosines (n,) of a sample.

    Equal ones count once: many files of a folder may have one name. A few say little about the
    spread, so that it is shrunk towards the default.
    """
    distinct = np.unique(np.round(cosines, 4))
    if len(distinct) < MIN_ROWS:
        return DEFAULT_DISTRIBUTION
    low = find_percentile(distinct, 15.87)  # one sigma below
    median = find_percentile(distinct, 50.0)
    weight = len(distinct) / (len(distinct) + PRIOR_ROWS)
    spread = weight * (median - low) + (1 - weight) * DEFAULT_DISTRIBUTION.spread
    return ScoreDistribution(median, max(spread, 1e-3))


def find_percentile(values: NDArray[np.floating], percent: float) -> float:
    """Do as `np.percentile` does with n > 0 values, in a tenth of the time: a query needs ten."""
    last = len(values) - 1
    place = percent / 100 * last
    low = int(place)
    ordered = np.partition(values, (low, min(low + 1, last)))
    below, above = float(ordered[low]), float(ordered[min(low + 1, last)])
    return below + (above - below) * (place - low)


@dataclass(frozen=True, kw_only=True)
class CalibrationSample:
    """The vectors of n points drawn at random; the rows of all channels are of the same points.

    Attributes:
        vectors: Dense channel -> (n, dim) float32; zeros where a point has no such vector.
        present: Dense channel -> (n,), whether the point has one.
        tokens: The words of the points, for BM25: (row, token, value) in three arrays (m,).
        points: The number of points in the index.
        sampled_at: Seconds since the epoch.
    """

    vectors: Mapping[str, NDArray[np.float32]]
    present: Mapping[str, NDArray[np.bool_]]
    tokens: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
    points: int
    sampled_at: float

    @property
    def size(self) -> int:
        return len(self.vectors[IMAGE])

    @cached_property
    def name_trust(self) -> float:
        """How much names count, 0 to 1: not at all where they fit their images as by chance."""
        chance = 0.5
        return float(np.clip((measure_name_fit(self) - chance) / (FULL_NAME_FIT - chance), 0, 1))

    @cached_property
    def crop_cosine(self) -> float:
        """See `estimate_crop_cosine`."""
        return estimate_crop_cosine(self.vectors[IMAGE][self.present[IMAGE]])

    def score(self, channel: str, query: Vector) -> NDArray[np.float64]:
        """The cosines (n,) of `query` with the sampled points; NaN where there is no vector."""
        present = self.present[channel]
        scores = np.full(self.size, np.nan)
        if present.any():
            scores[present] = (self.vectors[channel] @ query)[present]
        return scores

    def score_words(self, query: SparseVector) -> NDArray[np.float64]:
        """The BM25 (n,) of `query` in nats, with the inverse document frequencies of the sample."""
        postings, scores = self._postings, np.zeros(self.size)
        for token, weight in zip(query.indices, query.values, strict=True):
            if token in postings:
                rows, values = postings[token]
                idf = np.log((self.size - len(rows) + 0.5) / (len(rows) + 0.5) + 1)
                scores[rows] += weight * idf * values
        return scores

    @cached_property
    def _postings(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Token -> the rows that have it, and its values there. A query asks for each word's stems
        in all languages, most of which no point has."""
        rows, tokens, values = self.tokens
        order = np.argsort(tokens, kind="stable")
        distinct, starts = np.unique(tokens[order], return_index=True)
        parts = (np.split(column[order], starts[1:]) for column in (rows, values))
        return dict(zip(distinct.tolist(), zip(*parts, strict=True), strict=False))

    def is_valid(self, points: int) -> bool:
        age = time.time() - self.sampled_at
        return 0 <= age < MAX_AGE_SECONDS and abs(points - self.points) <= MAX_GROWTH * self.points


def measure_name_fit(sample: CalibrationSample) -> float:
    """Measure how well the names of a collection say what their images show.

    Returns:
        The mean share of images that a name is farther from than from its own: 0.5 is chance, as in
        the area under a ROC curve; 1 where there are no names.
    """
    if NAME not in sample.vectors:
        return 1.0
    own = np.flatnonzero(sample.present[NAME] & sample.present[IMAGE])[:NAME_FIT_ROWS]
    if not len(own):
        return 1.0
    images = sample.vectors[IMAGE][sample.present[IMAGE]]
    cosines = sample.vectors[NAME][own] @ images.T  # (names, images)
    fits = np.sum(sample.vectors[NAME][own] * sample.vectors[IMAGE][own], axis=1)  # (names,)
    return float(np.mean(cosines < fits[:, None] - 1e-6))


class CalibrationSampler:
    """Draws the sample when it is first needed, and again once it is invalid. Thread-safe.

    Args:
        store: The store with the index's points.
        channels: The names of the dense vectors to sample.
        dim: Their dimension.
        cache_dir: The folder that caches the sample for other processes; None: no cache.
        num_points: The number of points when the index was opened, if known.
    """

    def __init__(
        self,
        store: Store,
        channels: Sequence[str],
        dim: int,
        cache_dir: Path | None = None,
        num_points: int | None = None,
    ) -> None:
        self._store, self._channels, self._dim = store, channels, dim
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
            with_vector=[*self._channels, BM25],
        )
        drawn = self._store.query_batch([request])[0]
        vectors, present = {}, {}
        for channel in self._channels:
            present[channel] = np.array([channel in p.vectors for p in drawn], dtype=np.bool_)
            vectors[channel] = np.zeros((len(drawn), self._dim), dtype=np.float32)
            rows = [point.vectors[channel] for point in drawn if channel in point.vectors]
            if rows:
                vectors[channel][present[channel]] = rows
        words = [point.vectors.get(BM25, ((), ())) for point in drawn]
        counts = [len(indices) for indices, _ in words]
        return CalibrationSample(
            vectors=vectors,
            present=present,
            tokens=(
                np.repeat(np.arange(len(drawn)), counts),
                np.fromiter((i for indices, _ in words for i in indices), np.int64),
                np.fromiter((v for _, values in words for v in values), np.float64),
            ),
            points=points,
            sampled_at=time.time(),
        )

    def _read(self) -> CalibrationSample | None:
        """The sample that another process drew; None if there is none that is usable."""
        if self._file is None:
            return None
        try:
            with np.load(self._file, allow_pickle=False) as arrays:
                if arrays["format"] != SAMPLE_FORMAT:
                    return None
                sample = CalibrationSample(
                    vectors={name: arrays[name] for name in self._channels},
                    present={name: arrays[f"has_{name}"] for name in self._channels},
                    tokens=(arrays["rows"], arrays["tokens"], arrays["values"]),
                    points=int(arrays["points"]),
                    sampled_at=float(arrays["sampled_at"]),
                )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        shape = (len(sample.present[IMAGE]), self._dim)
        return sample if {v.shape for v in sample.vectors.values()} == {shape} else None

    def _write(self, sample: CalibrationSample) -> None:
        """Replace the file atomically; if that fails, the next process draws its own."""
        if self._file is None:
            return
        arrays: dict[str, Any] = {
            **sample.vectors,
            **{f"has_{name}": mask for name, mask in sample.present.items()},
            **dict(zip(("rows", "tokens", "values"), sample.tokens, strict=True)),
            "points": sample.points,
            "sampled_at": sample.sampled_at,
            "format": SAMPLE_FORMAT,
        }
        with suppress(OSError):
            make_private_dir(self._file.parent)
            with replace_file(self._file, mode=PRIVATE) as file:
                np.savez(file, allow_pickle=False, **arrays)
