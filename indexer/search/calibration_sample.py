"""A random sample of a collection's vectors, which the scores of a query are calibrated against.

Drawing it takes one request, which moves up to 1,000 points' vectors (3 MB as JSON for 384
dimensions). For a collection on a server it is therefore kept in the index's local folder, so that
a process that starts makes no such request. The file is valid for the index whose folder it is in,
for a day, and while the number of the index's points is within a tenth of what it was.

Within a process the number of points is asked for at most once a minute.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.collections.schema import IMAGE, TEXT
from indexer.stores.base import Store

SAMPLE_SIZE = 1_000
SAMPLE_FILE = "calibration.npz"
MAX_AGE_SECONDS = 24 * 3600.0
CHECK_INTERVAL_SECONDS = 60.0
MAX_GROWTH = 0.1  # share of the points that may have come or gone


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
    """Draws the sample when it is first needed, and again when it has become invalid. Thread-safe.

    Args:
        store: The index's points.
        dim: Of its vectors.
        cache_dir: Where to keep the sample for other processes; None: nowhere.
        num_points: How many points the index had when it was opened, if that is known.
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
            points = self._count(is_first=sample is None)
            sample = sample or self._read()
            if sample is None or not sample.is_valid(points):
                sample = self._draw(points)
            self._sample, self._checked_at = sample, time.monotonic()
            return sample

    def _count(self, *, is_first: bool) -> int:
        if is_first and self._num_points is not None:
            return self._num_points
        return self._store.count()

    def _draw(self, points: int) -> CalibrationSample:
        from qdrant_client import models

        request = models.QueryRequest(
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            limit=SAMPLE_SIZE,
            with_vector=[IMAGE, TEXT],
        )
        rows: dict[str, list[list[float]]] = {IMAGE: [], TEXT: []}
        for point in self._store.query(request):
            for name, vector in point.vectors.items():
                rows[name].append(vector)
        arrays = {
            name: np.asarray(vectors, dtype=np.float32).reshape(-1, self._dim)
            for name, vectors in rows.items()
        }
        sample = CalibrationSample(arrays, points, time.time())
        self._write(sample)
        return sample

    def _read(self) -> CalibrationSample | None:
        """The sample that another process has drawn; None where there is no usable one."""
        if self._file is None:
            return None
        try:
            with np.load(self._file, allow_pickle=False) as arrays:
                vectors = {name: arrays[name].astype(np.float32) for name in (IMAGE, TEXT)}
                points, sampled_at = int(arrays["points"]), float(arrays["sampled_at"])
        except (OSError, ValueError, KeyError, EOFError):
            return None
        if any(array.ndim != 2 or array.shape[1] != self._dim for array in vectors.values()):
            return None
        return CalibrationSample(vectors, points, sampled_at)

    def _write(self, sample: CalibrationSample) -> None:
        """Replace the file in one step; where that fails, the next process draws for itself."""
        if self._file is None:
            return
        fresh = self._file.with_suffix(f".{os.getpid()}")
        numbers = {"points": sample.points, "sampled_at": sample.sampled_at}
        arrays: dict[str, Any] = {**sample.vectors, **numbers}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                np.savez(file, **arrays)
            fresh.replace(self._file)
        except OSError:
            fresh.unlink(missing_ok=True)
