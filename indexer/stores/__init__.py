"""Where points live: embedded on this disk, on a Qdrant server, or in memory."""

from __future__ import annotations

from pathlib import Path

from indexer.stores.connection import Connection, Layout
from indexer.stores.protocol import Schema, Store
from indexer.stores.state import counts

__all__ = ["MEMORY", "Connection", "Layout", "Schema", "Store", "counts", "open_store"]

MEMORY = ":memory:"


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
    if isinstance(location, Connection) or str(location) == MEMORY:
        return _client_store(location, collection, layout)
    from indexer.stores.edge import EdgeStore

    return EdgeStore(Path(location) / collection)


def _client_store(
    location: str | Path | Connection, collection: str, layout: Layout | None
) -> Store:
    from indexer.stores.memory import MemoryServer
    from indexer.stores.server import server_of
    from indexer.stores.server_store import ServerStore

    server = server_of(location) if isinstance(location, Connection) else MemoryServer()
    return ServerStore(server, collection, layout)
