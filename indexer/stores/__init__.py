"""Where points live: embedded on this disk, on a Qdrant server, or in memory."""

from __future__ import annotations

from pathlib import Path

from indexer.stores.protocol import Schema, Store
from indexer.stores.state import counts

__all__ = ["MEMORY", "Schema", "Store", "counts", "open_store"]

MEMORY = ":memory:"


def open_store(location: str | Path, collection: str, *, api_key: str | None = None) -> Store:
    """The store of `collection` in a folder, at an http(s) URL, or in memory (`:memory:`).

    Nothing is read before `ensure`. Every method then raises `StoreError`.
    """
    place = str(location)
    if place == MEMORY or place.startswith(("http://", "https://")):
        from indexer.stores.client import ClientStore

        return ClientStore(place, collection, api_key)
    from indexer.stores.edge import EdgeStore

    return EdgeStore(Path(location) / collection)
