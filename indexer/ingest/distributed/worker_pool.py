"""Hands shards to the workers, and goes on when workers die."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from embedder.types import Vectors
from indexer.errors import IndexerError
from indexer.ingest.distributed.messages import BatchResult, FileOutcome, TaskBatch
from indexer.paths import display_path
from indexer.types import SkippedFile

MAX_IN_FLIGHT = 2  # shards that a worker has at once: one is embedded, the other decoded or written
SPLIT_PARTS = 8  # into which a shard is cut that a worker died of
MAX_FAILURES = 2  # deaths with nothing else in hand, after which a file is left out
POLL_INTERVAL = 0.5  # seconds between two looks at `stop`
START_TIMEOUT = 600.0  # seconds to wait for a worker where there is none

ActorHandle = Any  # a Ray actor of the class `Worker`
ObjectRef = Any


@dataclass(slots=True, eq=False)
class RunningWorker:
    """A worker that is ready, and what it has in hand."""

    handle: ActorHandle
    isolated: bool = False  # what it has in hand may kill it: it gets nothing else
    in_flight: dict[ObjectRef, TaskBatch] = field(default_factory=dict)


class WorkerPool:
    """`size` workers, a new one for each that dies.

    Raises `IndexerError` where a worker says that it cannot work, where none starts, and where they
    die and nothing gets done. `patience` is in seconds.
    """

    def __init__(
        self, spawn: Callable[[], ActorHandle], size: int, start_timeout: float = START_TIMEOUT
    ) -> None:
        self._spawn, self._start_timeout = spawn, start_timeout
        self._starting: dict[ObjectRef, ActorHandle] = {}
        self._workers: list[RunningWorker] = []
        self._quarantined: deque[TaskBatch] = deque()
        self._abandoned: deque[BatchResult] = deque()
        self._failures = 0  # since something got done
        self._last_alive = time.monotonic()  # when there was a worker last
        self._max_failures = 2 * size + 8
        for _ in range(size):
            self._start()

    def wait_until_ready(self) -> None:
        """Wait until all are there."""
        while self._starting:
            self._wait()

    def run(self, shards: Iterator[TaskBatch], stop: threading.Event) -> Iterator[BatchResult]:
        """What became of each shard, as they come. `stop` ends it after what is in hand."""
        while True:
            if not stop.is_set():
                self._dispatch(shards)
            while self._abandoned:
                yield self._abandoned.popleft()
            if not any(m.in_flight for m in self._workers) and (stop.is_set() or self._workers):
                return  # those who are there got nothing: there is nothing left
            yield from self._collect()

    def embed(self, *arguments: object) -> Vectors:
        """`Worker.embed`, by whoever has least to do."""
        import ray

        while True:
            while not self._workers:
                self._wait()
            member = min(self._workers, key=lambda m: (m.isolated, len(m.in_flight)))
            try:
                rows: Vectors = ray.get(member.handle.embed.remote(*arguments))
                return rows
            except ray.exceptions.RayError as error:
                self._replace_worker(member, error)

    def close(self) -> None:
        import ray

        for handle in (*(m.handle for m in self._workers), *self._starting.values()):
            ray.kill(handle)

    def _start(self) -> None:
        handle = self._spawn()
        self._starting[handle.ready.remote()] = handle

    def _wait(self, *given: ObjectRef) -> list[ObjectRef]:
        """What is done of what was given out; waits for a turn at most, and welcomes who came."""
        import ray

        ready = ray.wait([*given, *self._starting], num_returns=1, timeout=POLL_INTERVAL)[0]
        for ref in ready:
            if ref in self._starting:
                self._on_ready(ref)
        if not self._workers and time.monotonic() - self._last_alive > self._start_timeout:
            raise IndexerError(
                f"no worker has started within {self._start_timeout:.0f} s: the cluster has not the "
                "GPUs or cores free that one needs; `ray status` on it tells what it has"
            )
        return [ref for ref in ready if ref in given]

    def _on_ready(self, ref: ObjectRef) -> None:
        import ray

        handle = self._starting.pop(ref)
        try:
            ray.get(ref)
        except ray.exceptions.RayError as error:
            self._on_worker_error(error)
            self._start()
        else:
            self._workers.append(RunningWorker(handle))

    def _dispatch(self, shards: Iterator[TaskBatch]) -> None:
        for _ in range(MAX_IN_FLIGHT):  # everyone one, then everyone another
            for member in self._workers:
                if member.isolated or len(member.in_flight) >= MAX_IN_FLIGHT:
                    continue
                if self._quarantined:
                    if not member.in_flight:
                        self._submit(member, self._quarantined.popleft(), alone=True)
                elif (shard := next(shards, None)) is not None:
                    self._submit(member, shard, alone=False)

    def _submit(self, member: RunningWorker, shard: TaskBatch, *, alone: bool) -> None:
        member.isolated = alone
        member.in_flight[member.handle.work.remote(shard)] = shard

    def _collect(self) -> Iterator[BatchResult]:
        owners = {ref: member for member in self._workers for ref in member.in_flight}
        for ref in self._wait(*owners):
            yield from self._handle_result(owners[ref], ref)

    def _handle_result(self, member: RunningWorker, ref: ObjectRef) -> Iterator[BatchResult]:
        import ray

        try:
            done: Any = ray.get(ref)
        except ray.exceptions.RayError as error:
            self._replace_worker(member, error)
            return
        del member.in_flight[ref]
        member.isolated, self._failures = False, 0
        yield done

    def _replace_worker(self, member: RunningWorker, error: Exception) -> None:
        """Another takes its place; what it had in hand is cut up, and given out piece by piece."""
        import ray

        self._on_worker_error(error)
        self._workers.remove(member)
        self._last_alive = time.monotonic()
        ray.kill(member.handle)  # it may live on where we cannot hear it
        for shard in member.in_flight.values():
            self._quarantine(shard)
        self._start()

    def _quarantine(self, shard: TaskBatch) -> None:
        """Every file of `shard` may be the one that killed its worker."""
        if len(shard.tasks) == 1 and shard.failures >= MAX_FAILURES:
            path = display_path(shard.tasks[0].file.path)
            why = f"{MAX_FAILURES + 1} workers have died with it in hand: it takes too much memory, or "
            why += "crashes its decoder or the model"
            self._abandoned.append(
                BatchResult([FileOutcome(SkippedFile(path, "embed-failed", why))])
            )
            return
        size = -(-len(shard.tasks) // SPLIT_PARTS)
        for start in range(0, len(shard.tasks), size):
            self._quarantined.append(
                TaskBatch(shard.tasks[start : start + size], shard.failures + 1)
            )

    def _on_worker_error(self, error: Exception) -> None:
        """Raise where a worker has said why, or where too many have died in a row."""
        import ray

        if isinstance(error, ray.exceptions.RayTaskError):
            cause = error.cause
            if isinstance(cause, IndexerError):
                raise IndexerError(str(cause)) from None
            raise IndexerError(f"a worker failed: {type(cause).__name__}: {cause}") from error
        self._failures += 1
        if self._failures > self._max_failures:
            first = str(error).strip().splitlines()[0]
            raise IndexerError(
                f"{self._failures} workers have died one after another, and nothing got done "
                f"({first}); is there memory enough for the model?"
            ) from error
