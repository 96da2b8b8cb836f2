"""Hands batches to the workers, and replaces workers that die."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from embedder.types import Vectors
from indexer.errors import IndexerError
from indexer.ingest.distributed.ray_cluster import import_ray
from indexer.ingest.distributed.worker import BatchResult, TaskBatch
from indexer.paths import display_path
from indexer.types import SkippedFile

MAX_IN_FLIGHT = 2  # batches that a worker has at once: one is embedded, the other decoded
SPLIT_PARTS = 8  # into which a batch is split that killed its worker
MAX_FAILURES = 2  # workers that may die with a single file before it is skipped
POLL_INTERVAL = 0.5  # seconds between two looks at `stop`
START_TIMEOUT = 600.0  # seconds to wait for a first worker

ActorHandle = Any  # a Ray actor of the class `Worker`
ObjectRef = Any


@dataclass(slots=True, eq=False)
class RunningWorker:
    """A worker that is ready, and the batches that it has."""

    handle: ActorHandle
    isolated: bool = False  # its batch may kill it: it gets no other
    in_flight: dict[ObjectRef, TaskBatch] = field(default_factory=dict)


class WorkerPool:
    """`size` workers, with a new one for each that dies. Not thread-safe.

    Raises `IndexerError` where a worker reports that it cannot work, where none starts within
    `start_timeout` seconds, and where workers die without getting anything done.
    """

    def __init__(
        self, spawn: Callable[[], ActorHandle], size: int, start_timeout: float = START_TIMEOUT
    ) -> None:
        self._ray = import_ray()
        self._spawn, self._start_timeout = spawn, start_timeout
        self._starting: dict[ObjectRef, ActorHandle] = {}
        self._workers: list[RunningWorker] = []
        self._quarantined: deque[TaskBatch] = deque()
        self._abandoned: deque[BatchResult] = deque()
        self._failures = 0  # since a batch was last completed
        self._max_failures = 2 * size + 8
        self._last_alive = time.monotonic()
        for _ in range(size):
            self._start_worker()

    def wait_until_ready(self) -> None:
        """Wait until all workers have started."""
        while self._starting:
            self._wait()

    def run(self, batches: Iterator[TaskBatch], stop: threading.Event) -> Iterator[BatchResult]:
        """The result of each batch, as they come. `stop` ends it after the batches in flight."""
        while True:
            if not stop.is_set():
                self._dispatch(batches)
            while self._abandoned:
                yield self._abandoned.popleft()
            if not any(w.in_flight for w in self._workers) and (stop.is_set() or self._workers):
                return  # the workers that have started got no batch: there is none left
            owners = {ref: worker for worker in self._workers for ref in worker.in_flight}
            for ref in self._wait(*owners):
                result = self._get_result(owners[ref], ref)
                if result is not None:
                    yield result

    def embed(self, *arguments: object) -> Vectors:
        """`Worker.embed`, by the worker that has the least to do."""
        while True:
            while not self._workers:
                self._wait()
            worker = min(self._workers, key=lambda w: (w.isolated, len(w.in_flight)))
            try:
                rows: Vectors = self._ray.get(worker.handle.embed.remote(*arguments))
                return rows
            except self._ray.exceptions.RayError as error:
                self._replace_worker(worker, error)

    def close(self) -> None:
        for handle in (*(w.handle for w in self._workers), *self._starting.values()):
            self._ray.kill(handle)

    def _start_worker(self) -> None:
        handle = self._spawn()
        self._starting[handle.start.remote()] = handle

    def _wait(self, *refs: ObjectRef) -> list[ObjectRef]:
        """Those of `refs` that are done; waits for one `POLL_INTERVAL` at most."""
        ready = self._ray.wait([*refs, *self._starting], num_returns=1, timeout=POLL_INTERVAL)[0]
        for ref in ready:
            if ref in self._starting:
                self._on_started(ref)
        if not self._workers and time.monotonic() - self._last_alive > self._start_timeout:
            raise IndexerError(
                f"no worker has started within {self._start_timeout:.0f} s: the cluster does not "
                "have the GPUs or cores free that a worker needs; run `ray status` on it to see "
                "what it has"
            )
        return [ref for ref in ready if ref in refs]

    def _on_started(self, ref: ObjectRef) -> None:
        handle = self._starting.pop(ref)
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._on_worker_error(error)
            self._start_worker()
        else:
            self._workers.append(RunningWorker(handle))

    def _dispatch(self, batches: Iterator[TaskBatch]) -> None:
        for _ in range(MAX_IN_FLIGHT):  # one for each worker, then another one for each
            for worker in self._workers:
                if worker.isolated or len(worker.in_flight) >= MAX_IN_FLIGHT:
                    continue
                if self._quarantined:
                    if not worker.in_flight:
                        self._send(worker, self._quarantined.popleft(), isolated=True)
                elif (batch := next(batches, None)) is not None:
                    self._send(worker, batch, isolated=False)

    def _send(self, worker: RunningWorker, batch: TaskBatch, *, isolated: bool) -> None:
        worker.isolated = isolated
        worker.in_flight[worker.handle.process.remote(batch)] = batch

    def _get_result(self, worker: RunningWorker, ref: ObjectRef) -> BatchResult | None:
        try:
            result: BatchResult = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._replace_worker(worker, error)
            return None
        del worker.in_flight[ref]
        worker.isolated, self._failures = False, 0
        return result

    def _replace_worker(self, worker: RunningWorker, error: Exception) -> None:
        """Start another one; the batches of the dead worker are split, and tried part by part."""
        self._on_worker_error(error)
        self._workers.remove(worker)
        self._last_alive = time.monotonic()
        self._ray.kill(worker.handle)  # it may be alive, and only out of reach
        for batch in worker.in_flight.values():
            self._quarantine(batch)
        self._start_worker()

    def _quarantine(self, batch: TaskBatch) -> None:
        """Any file of `batch` may be the one that killed its worker."""
        if len(batch.tasks) == 1 and batch.failures >= MAX_FAILURES:
            path = display_path(batch.tasks[0].file.path)
            detail = (
                f"{MAX_FAILURES + 1} workers have died while they processed it: it takes too much "
                "memory, or crashes its decoder or the model"
            )
            skip = SkippedFile(path, "embed-failed", detail)
            self._abandoned.append(BatchResult([skip]))
            return
        size = -(-len(batch.tasks) // SPLIT_PARTS)
        for start in range(0, len(batch.tasks), size):
            tasks = batch.tasks[start : start + size]
            self._quarantined.append(TaskBatch(tasks, batch.failures + 1))

    def _on_worker_error(self, error: Exception) -> None:
        """Raise where a worker has reported an error, or where too many have died in a row."""
        if isinstance(error, self._ray.exceptions.RayTaskError):
            cause = error.cause
            if isinstance(cause, IndexerError):
                raise IndexerError(str(cause)) from None
            raise IndexerError(f"a worker failed: {type(cause).__name__}: {cause}") from error
        self._failures += 1
        if self._failures > self._max_failures:
            first = str(error).strip().splitlines()[0]
            raise IndexerError(
                f"{self._failures} workers have died one after another without completing a batch "
                f"({first}); check that there is enough memory for the model"
            ) from error
