"""What `/metrics` tells, in Prometheus' format."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The measures of one server. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry, "namespace": "polylens"}
        self.requests = Counter("requests", "Requests answered.", ("kind", "code"), **own)
        self.inputs = Counter("inputs", "Inputs taken in.", ("kind",), **own)
        self.rejected = Counter("rejected", "Requests turned away when busy.", ("reason",), **own)
        self.queue = Gauge("queue_inputs", "Inputs that wait for the model.", **own)
        self.seconds = _seconds("request_seconds", "A request, from head to answer.", own)
        self.queued = _seconds("queue_seconds", "A request's wait for the model.", own)
        self._model = _seconds("model_seconds", "The model, a batch.", own)
        self._sizes = Histogram("batch_size", "Inputs in a batch.", buckets=SIZES, **own)

    def batch(self, size: int, seconds: float) -> None:
        self._sizes.observe(size)
        self._model.observe(seconds)

    def page(self) -> bytes:
        return generate_latest(self._registry)


def _seconds(name: str, told: str, own: dict[str, Any]) -> Histogram:
    return Histogram(name, told, buckets=SECONDS, **own)
