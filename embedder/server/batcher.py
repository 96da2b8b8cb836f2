"""Batches the requests of many clients for one model.

One thread embeds, or two if a model can prepare one batch while it computes another. What arrives
during a batch is the next batch; an idle model starts at once. First come, first served; a batch
has one role and one instruction.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from embedder.encoding import EmbeddingModel
from embedder.server.schemas import HTTPError
from embedder.types import Input, Role, Vectors

GATHER_RATIO = 0.1  # of the last batch's time: how long to wait for the clients just answered
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Outcome: TypeAlias = tuple[NDArray[np.float32], int] | Exception
"""A (dim,) vector and the number of tokens read for it, or the error."""


class Metrics:
    """The Prometheus metrics of one server. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self._registry, "namespace": "polylens"}
        seconds = {**options, "buckets": SECONDS_BUCKETS}
        self.requests = Counter("requests", "Requests answered.", ("kind", "code"), **options)
        self.inputs = Counter("inputs", "Inputs taken in.", ("kind",), **options)
        self.rejected = Counter("rejected", "Requests refused when busy.", ("reason",), **options)
        self.queued_inputs = Gauge("queue_inputs", "Inputs that wait for the model.", **options)
        self.batch_sizes = Histogram(
            "batch_size", "Inputs in a batch.", buckets=SIZE_BUCKETS, **options
        )
        self.request_seconds = Histogram(
            "request_seconds", "A request, from its head to the response.", **seconds
        )
        self.queue_seconds = Histogram(
            "queue_seconds", "A request's wait for the model.", **seconds
        )
        self.model_seconds = Histogram("model_seconds", "The model, a batch.", **seconds)

    def render(self) -> bytes:
        return generate_latest(self._registry)


@dataclass(eq=False, slots=True)
class PendingRequest:
    """A request in the queue. `taken_count` inputs are already in batches."""

    inputs: Sequence[Input]
    role: Role
    instruction: str | None
    submitted_at: float = field(default_factory=time.perf_counter)
    future: Future[tuple[Vectors, int]] = field(default_factory=Future)
    outcomes: list[Outcome] = field(default_factory=list)
    taken_count: int = 0

    @property
    def batch_key(self) -> tuple[Role, str | None]:
        """Requests share a batch only if their keys are equal."""
        return self.role, self.instruction

    def take(self, max_inputs: int) -> Sequence[Input]:
        part = self.inputs[self.taken_count : self.taken_count + max_inputs]
        self.taken_count += len(part)
        return part

    def add_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Complete the request once all inputs are done; a failed input fails it."""
        self.outcomes += outcomes
        if len(self.outcomes) < len(self.inputs):
            return
        rows, tokens = [], 0
        for outcome in self.outcomes:
            if isinstance(outcome, Exception):
                self.future.set_exception(outcome)
                return
            rows.append(outcome[0])
            tokens += outcome[1]
        self.future.set_result((np.stack(rows), tokens))


class Batcher:
    """Embeds for many threads; `close` it when done."""

    def __init__(
        self,
        embedder: EmbeddingModel,
        metrics: Metrics,
        *,
        max_batch: int = 32,
        max_queue: int = 512,
        max_concurrency: int = 1,
    ) -> None:
        """`max_concurrency`: calls of the model at the same time."""
        self._embed, self._metrics = embedder.embed_and_count, metrics
        self._max_batch, self._max_queue = max_batch, max_queue
        self._changed = threading.Condition()
        self._pending: deque[PendingRequest] = deque()
        self._queued_inputs = 0
        self._closed = False
        self._expected_inputs, self._hold_until = 0, 0.0  # what a batch waits for, and until when
        names = [f"batcher-{index}" for index in range(max_concurrency)]
        self._threads = [threading.Thread(target=self._run, name=n, daemon=True) for n in names]
        for thread in self._threads:
            thread.start()

    def submit(
        self, inputs: Sequence[Input], role: Role, instruction: str | None
    ) -> PendingRequest:
        """Put inputs in the queue; raise `HTTPError` if it is full."""
        pending = PendingRequest(inputs, role, instruction)
        pending.future.set_running_or_notify_cancel()  # it cannot be canceled
        with self._changed:
            if self._queued_inputs and self._queued_inputs + len(inputs) > self._max_queue:
                self._metrics.rejected.labels("queue").inc()
                message = "too many requests wait; try again"
                raise HTTPError(429, message, code="busy", retry_after=1)
            self._pending.append(pending)
            self._add_queued_inputs(len(inputs))
            self._changed.notify_all()
        return pending

    def discard(self, pending: PendingRequest) -> None:
        """Drop the inputs of `pending` that are not embedded yet."""
        with self._changed:
            self._remove(pending)

    def try_cancel(self, pending: PendingRequest) -> bool:
        """Remove `pending` from the queue unless the model has started with it."""
        with self._changed:
            is_untouched = pending.taken_count == 0
            if is_untouched:
                self._remove(pending)
            return is_untouched

    def close(self, timeout: float | None = None) -> None:
        """Finish the queue, and end the threads; give up after so many seconds, if given."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        end = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if end is None else max(end - time.monotonic(), 0))

    def _remove(self, pending: PendingRequest) -> None:
        if pending in self._pending:
            self._pending.remove(pending)
            self._add_queued_inputs(pending.taken_count - len(pending.inputs))

    def _add_queued_inputs(self, more: int) -> None:
        self._queued_inputs += more
        self._metrics.queued_inputs.set(self._queued_inputs)

    def _run(self) -> None:
        while not (self._closed and not self._pending):
            batch = self._next_batch()
            if not batch:  # the requests were canceled
                continue
            started = time.perf_counter()
            self._embed_batch(batch)
            seconds = time.perf_counter() - started
            size = sum(len(part) for _, part in batch)
            self._metrics.batch_sizes.observe(size)
            self._metrics.model_seconds.observe(seconds)
            if len(self._threads) == 1:  # with two, the other one keeps the model busy
                with self._changed:
                    self._delay_next_batch(size, seconds)

    def _delay_next_batch(self, size: int, seconds: float) -> None:
        """Wait briefly for clients that send one request after another, so that the next batch is
        full. A single client never waits."""
        is_single_client = size == 1 and not self._queued_inputs
        expected = 0 if is_single_client else size + self._queued_inputs
        self._expected_inputs = min(expected, self._max_batch)
        self._hold_until = time.perf_counter() + GATHER_RATIO * seconds

    def _next_batch(self) -> list[tuple[PendingRequest, Sequence[Input]]]:
        """Wait for requests, and return them with the inputs taken; may be empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            self._changed.wait_for(
                lambda: self._queued_inputs >= self._expected_inputs or self._closed,
                timeout=max(self._hold_until - time.perf_counter(), 0),
            )
            return self._take_batch()

    def _take_batch(self) -> list[tuple[PendingRequest, Sequence[Input]]]:
        batch: list[tuple[PendingRequest, Sequence[Input]]] = []
        room = self._max_batch
        for pending in [t for t in self._pending if t.batch_key == self._pending[0].batch_key]:
            if pending.taken_count == 0:
                self._metrics.queue_seconds.observe(time.perf_counter() - pending.submitted_at)
            batch.append((pending, pending.take(room)))
            if pending.taken_count == len(pending.inputs):
                self._pending.remove(pending)
            room -= len(batch[-1][1])
            if not room:
                break
        self._add_queued_inputs(room - self._max_batch)
        return batch

    def _embed_batch(self, batch: Sequence[tuple[PendingRequest, Sequence[Input]]]) -> None:
        role, instruction = batch[0][0].batch_key
        inputs = [item for _, part in batch for item in part]
        outcomes = self._embed_or_split(inputs, role, instruction)
        for pending, part in batch:
            own_outcomes, outcomes = outcomes[: len(part)], outcomes[len(part) :]
            pending.add_outcomes(own_outcomes)

    def _embed_or_split(
        self, inputs: Sequence[Input], role: Role, instruction: str | None
    ) -> list[Outcome]:
        """Embed, or halve a batch that fails until the bad input fails alone."""
        try:
            rows, tokens = self._embed(inputs, role, instruction)
            return list(zip(rows, tokens, strict=True))
        except Exception as error:  # whatever a model throws must not end the thread
            if len(inputs) == 1:
                return [error]
        half = len(inputs) // 2
        return [
            *self._embed_or_split(inputs[:half], role, instruction),
            *self._embed_or_split(inputs[half:], role, instruction),
        ]
