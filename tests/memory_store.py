"""A store in memory: qdrant-client's own engine in place of a server."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from indexer.errors import IndexerError, StoreError
from indexer.stores.base import Schema
from indexer.stores.qdrant.client import Connection
from indexer.stores.qdrant.store import QdrantStore

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")


def open_memory_store(schema: Schema) -> QdrantStore:
    """An empty collection."""
    store = QdrantStore(MemoryServer(), "c")
    store.ensure(schema)
    return store


class MemoryServer:
    """Has the methods of `Server`. The engine is not thread-safe: one call at a time."""

    connection = Connection("memory", upload_concurrency=1)

    def __init__(self) -> None:
        self._client: QdrantClient | None = None
        self._lock = threading.RLock()

    def call(
        self,
        operation: Callable[[QdrantClient], T],
        *,
        retry_seconds: float | None = None,
        stop: threading.Event | None = None,
        is_read: bool = False,
    ) -> T:
        """Return the result of `operation`; raises `StoreError`."""
        from qdrant_client import QdrantClient

        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # payload indexes have no effect here
            try:
                if self._client is None:
                    self._client = QdrantClient(":memory:")
                return operation(self._client)
            except IndexerError:
                raise
            except Exception as error:
                raise StoreError(f"the store in memory failed: {error}") from error
