"""The Prometheus metrics of the server."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self._registry, "namespace": "polylens"}
        self.requests = Counter("requests", "Requests answered.", ("kind", "code"), **options)
        self.inputs = Counter("inputs", "Inputs taken in.", ("kind",), **options)
        self.rejected = Counter(
            "rejected", "Requests turned away when busy.", ("reason",), **options
        )
        self.queued_inputs = Gauge("queue_inputs", "Inputs that wait for the model.", **options)
        self.request_seconds = _seconds_histogram(
            "request_seconds", "A request, from head to answer.", options
        )
        self.queue_seconds = _seconds_histogram(
            "queue_seconds", "A request's wait for the model.", options
        )
        self._model_seconds = _seconds_histogram("model_seconds", "The model, a batch.", options)
        self._batch_sizes = Histogram(
            "batch_size", "Inputs in a batch.", buckets=SIZE_BUCKETS, **options
        )

    def observe_batch(self, size: int, seconds: float) -> None:
        self._batch_sizes.observe(size)
        self._model_seconds.observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self._registry)


def _seconds_histogram(name: str, description: str, options: dict[str, Any]) -> Histogram:
    return Histogram(name, description, buckets=SECONDS_BUCKETS, **options)
