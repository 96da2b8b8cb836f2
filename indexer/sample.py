"""A random sample of a collection's vectors, which queries are calibrated against."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.schema import IMAGE, TEXT
from indexer.stores.protocol import Store

SIZE = 1_000
FRESH = 60.0  # seconds before the sample is drawn again


@dataclass(frozen=True, slots=True)
class Sample:
    """`vectors` by channel, each (n, dim), of a collection of `points` points."""

    vectors: dict[str, NDArray[np.float32]]
    points: int
    drawn: float  # time.monotonic()


class Sampler:
    """Draws the sample when it is first needed, and again when it is old. Thread-safe."""

    def __init__(self, store: Store, dim: int) -> None:
        self._store, self._dim = store, dim
        self._sample: Sample | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Sample:
        with self._lock:
            if self._sample is None or time.monotonic() - self._sample.drawn > FRESH:
                self._sample = self._draw()
            return self._sample

    def _draw(self) -> Sample:
        from qdrant_client import models

        request = models.QueryRequest(
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            limit=SIZE,
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
        return Sample(arrays, self._store.count(), time.monotonic())
