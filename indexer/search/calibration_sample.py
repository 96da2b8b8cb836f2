"""A random sample of a collection's vectors, which queries are calibrated against."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.collections.schema import IMAGE, TEXT
from indexer.stores.base import Store

SAMPLE_SIZE = 1_000
MAX_AGE_SECONDS = 60.0  # seconds before the sample is drawn again


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """`vectors` by channel, each (n, dim), of a collection of `points` points."""

    vectors: dict[str, NDArray[np.float32]]
    points: int
    sampled_at: float  # time.monotonic()


class CalibrationSampler:
    """Draws the sample when it is first needed, and again when it is old. Thread-safe."""

    def __init__(self, store: Store, dim: int) -> None:
        self._store, self._dim = store, dim
        self._sample: CalibrationSample | None = None
        self._lock = threading.Lock()

    def __call__(self) -> CalibrationSample:
        with self._lock:
            if self._sample is None or time.monotonic() - self._sample.sampled_at > MAX_AGE_SECONDS:
                self._sample = self._fetch()
            return self._sample

    def _fetch(self) -> CalibrationSample:
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
            name: np.asarray(found, dtype=np.float32).reshape(-1, self._dim)
            for name, found in rows.items()
        }
        return CalibrationSample(arrays, self._store.count(), time.monotonic())
