"""Uploads batches concurrently, and reads as many ahead.

qdrant-client's own `upload_points` hides the errors of its workers, and may hang when one dies.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from indexer.errors import StoreError
from indexer.stores.base import Store
from indexer.types import Record, SparseVector

MAX_POINTS = 256  # per request
MAX_BYTES = 16 << 20  # per request; the server's default limit is 32 MB
BYTES_PER_VALUE = 12  # in JSON; four over gRPC

Send = Callable[[Sequence[Record], threading.Event], None]
"""Write a batch; setting the event ends the waiting."""


def upload(
    store: Store, batches: Iterable[Sequence[Record]], concurrency: int
) -> Iterator[list[Record]]:
    """Upsert `batches`, `concurrency` at a time; yields each, in order, once it is acknowledged.

    At most `2 * concurrency` batches are held in memory. After a failure no other batch is started,
    the running ones finish, and the error says how many points of the upload were acknowledged:
    those yielded, and perhaps some of later batches. Raises `StoreError`.
    """
    send: Send = getattr(store, "send", None) or (lambda batch, _: store.upsert(batch))
    run = Uploader(send)
    yield from run.upload(batches, concurrency)
    if run.failure is None:
        return
    if not isinstance(run.failure, StoreError):
        raise run.failure
    message = f"{run.failure}; {run.acknowledged:,} points of this upload were acknowledged"
    raise type(run.failure)(message) from run.failure


class Uploader:
    """One upload: the number of acknowledged points, and the first error."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._stop, self._lock = threading.Event(), threading.Lock()
        self.acknowledged = 0
        self.failure: Exception | None = None

    def upload(
        self, batches: Iterable[Sequence[Record]], concurrency: int
    ) -> Iterator[list[Record]]:
        """Yield the acknowledged batches, in order, up to the first failure."""
        pending: deque[tuple[Sequence[Record], Future[bool]]] = deque()
        with ThreadPoolExecutor(concurrency, "upload") as pool:
            try:
                for batch in batches:
                    pending.append((batch, pool.submit(self._run, batch)))
                    if len(pending) < 2 * concurrency:
                        continue
                    first, done = pending.popleft()
                    if not done.result():
                        return
                    yield list(first)
                while pending:
                    first, done = pending.popleft()
                    if not done.result():
                        return
                    yield list(first)
            finally:  # also after Ctrl-C: stop waiting for the server
                self._stop.set()

    def _run(self, batch: Sequence[Record]) -> bool:
        if self._stop.is_set():
            return False
        try:
            self._send(batch, self._stop)
        except Exception as error:
            with self._lock:
                self.failure = self.failure or error
            self._stop.set()
            return False
        with self._lock:
            self.acknowledged += len(batch)
        return True


def split_records(records: Sequence[Record], payloads: Sequence[int]) -> Iterator[Sequence[Record]]:
    """Split `records` into requests; `payloads` are the sizes of the payloads in bytes."""
    start, total = 0, 0
    for end, (record, payload) in enumerate(zip(records, payloads, strict=True)):
        size = payload + sum(_vector_bytes(vector) for vector in record.vectors.values())
        full = end - start == MAX_POINTS or total + size > MAX_BYTES
        if full and end > start:
            yield records[start:end]
            start, total = end, 0
        total += size
    if start < len(records):
        yield records[start:]


def _vector_bytes(vector: object) -> int:
    values = 2 * len(vector.values) if isinstance(vector, SparseVector) else len(vector)  # type: ignore[arg-type]
    return BYTES_PER_VALUE * values
