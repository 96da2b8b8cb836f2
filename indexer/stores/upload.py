"""Uploads batches concurrently, and reads as many ahead.

qdrant-client's own `upload_points` hides the errors of its workers, and may hang when one dies.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from indexer.errors import StoreError
from indexer.stores.base import Store
from indexer.types import Record


def upload(
    store: Store, batches: Iterable[Sequence[Record]], concurrency: int
) -> Iterator[Sequence[Record]]:
    """Upsert `batches`, `concurrency` at a time; yields each, in order, once it is acknowledged.

    At most `2 * concurrency` batches are held in memory. After a failure no other batch is started,
    the running ones finish, and the error says how many points of the upload were acknowledged:
    those yielded, and perhaps some of later batches. Raises `StoreError`.
    """
    stop, acknowledged = threading.Event(), list[int]()
    failures: list[Exception] = []

    def upsert(batch: Sequence[Record]) -> bool:
        if stop.is_set():
            return False
        try:
            store.upsert(batch, stop)
        except Exception as error:
            failures.append(error)
            stop.set()
            return False
        acknowledged.append(len(batch))
        return True

    pending: deque[tuple[Sequence[Record], Future[bool]]] = deque()
    with ThreadPoolExecutor(concurrency, "upload") as pool:
        try:
            for batch in batches:
                pending.append((batch, pool.submit(upsert, batch)))
                if len(pending) == 2 * concurrency:
                    if not pending[0][1].result():
                        break
                    yield pending.popleft()[0]
            while pending and pending[0][1].result():
                yield pending.popleft()[0]
        finally:  # also after Ctrl-C: stop waiting for the server
            stop.set()
    if failures and isinstance(failures[0], StoreError):
        message = f"{failures[0]}; {sum(acknowledged):,} points of this upload were acknowledged"
        raise type(failures[0])(message) from failures[0]
    if failures:
        raise failures[0]
