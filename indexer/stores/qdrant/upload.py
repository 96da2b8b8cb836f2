"""Uploads in several streams: as many batches under way as there are streams, and as many ready.

qdrant-client's own `upload_points` hides what fails in its workers, and may hang when one dies.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from indexer.errors import StoreError
from indexer.stores.base import Store
from indexer.types import Record, SparseVector

MAX_POINTS = 256  # a request
MAX_BYTES = 16 << 20  # a request; a server takes 32 MB unless it is told otherwise
BYTES_PER_VALUE = 12  # bytes of a vector's number in JSON; four over gRPC

Send = Callable[[Sequence[Record], threading.Event], None]
"""Write a batch, and give up waiting when the event is set."""


def upload(
    store: Store, batches: Iterable[Sequence[Record]], concurrency: int
) -> Iterator[list[Record]]:
    """Upsert `batches`, `streams` at a time; each is given back once the store has it, in order.

    At most twice as many batches as streams are in hand. When one fails, no other is begun; those
    under way end, and its error says how many points of the upload were acknowledged in all:
    the ones given back, and perhaps some of later batches. Raises `StoreError`.
    """
    send: Send = getattr(store, "send", None) or (lambda batch, _: store.upsert(batch))
    run = Uploader(send)
    yield from run.upload(batches, concurrency)
    if run.failure is None:
        return
    if not isinstance(run.failure, StoreError):
        raise run.failure
    told = f"{run.failure}; {run.acknowledged:,} points of this upload were acknowledged"
    raise type(run.failure)(told) from run.failure


class Uploader:
    """One upload: how many points the store has acknowledged, and what first went wrong."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._stop, self._lock = threading.Event(), threading.Lock()
        self.acknowledged = 0
        self.failure: Exception | None = None

    def upload(
        self, batches: Iterable[Sequence[Record]], concurrency: int
    ) -> Iterator[list[Record]]:
        """The batches that are acknowledged, in order, up to the first that is not."""
        flying: deque[tuple[Sequence[Record], Future[bool]]] = deque()
        with ThreadPoolExecutor(concurrency, "upload") as pool:
            try:
                for batch in batches:
                    flying.append((batch, pool.submit(self._run, batch)))
                    if len(flying) < 2 * concurrency:
                        continue
                    first, done = flying.popleft()
                    if not done.result():
                        return
                    yield list(first)
                while flying:
                    first, done = flying.popleft()
                    if not done.result():
                        return
                    yield list(first)
            finally:  # after Ctrl-C too: nobody should go on waiting for the server
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
    """`records` in requests of a good size; `payloads` are the bytes of each payload."""
    start, weight = 0, 0
    for place, (record, payload) in enumerate(zip(records, payloads, strict=True)):
        size = payload + sum(_vector_bytes(vector) for vector in record.vectors.values())
        full = place - start == MAX_POINTS or weight + size > MAX_BYTES
        if full and place > start:
            yield records[start:place]
            start, weight = place, 0
        weight += size
    if start < len(records):
        yield records[start:]


def _vector_bytes(vector: object) -> int:
    numbers = 2 * len(vector.values) if isinstance(vector, SparseVector) else len(vector)  # type: ignore[arg-type]
    return BYTES_PER_VALUE * numbers
