"""Stores of points: embedded on this disk, on a Qdrant server, or in memory."""

from __future__ import annotations

from pathlib import Path

from indexer.stores.base import Schema, Store
from indexer.stores.edge.state import count_points
from indexer.stores.qdrant.connection import Connection, Layout

__all__ = [
    "MEMORY_LOCATION",
    "Connection",
    "Layout",
    "Schema",
    "Store",
    "count_points",
    "open_store",
]

MEMORY_LOCATION = ":memory:"


def open_store(
    location: str | Path | Connection,
    collection: str,
    *,
    api_key: str | None = None,
    layout: Layout | None = None,
) -> Store:
    """The store of `collection` in a folder, on a server (a `Connection`, or an http(s) URL with
    `api_key`), or in memory (`:memory:`). `layout` is how a server lays out a new collection.

    Nothing is read before `ensure`. Every method then raises `StoreError`.
    """
    if str(location).startswith(("http://", "https://")):
        location = Connection(str(location), api_key)
    if isinstance(location, Connection) or str(location) == MEMORY_LOCATION:
        return _open_server_store(location, collection, layout)
    from indexer.stores.edge.store import EdgeStore

    return EdgeStore(Path(location) / collection)


def _open_server_store(
    location: str | Path | Connection, collection: str, layout: Layout | None
) -> Store:
    from indexer.stores.memory import MemoryServer
    from indexer.stores.qdrant.server import get_server
    from indexer.stores.qdrant.store import QdrantStore

    server = get_server(location) if isinstance(location, Connection) else MemoryServer()
    return QdrantStore(server, collection, layout)
