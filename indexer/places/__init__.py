"""Where collections are kept: in a folder, or on a Qdrant server."""

from __future__ import annotations

from indexer.config import Config
from indexer.places.protocol import Index, Indexes, Place
from indexer.stores.connection import Connection, Layout

__all__ = ["Index", "Indexes", "Place", "connection_of", "layout_of", "place_of"]


def place_of(config: Config) -> Place:
    """The place that the settings name; nothing is read yet."""
    if config.is_remote:
        from indexer.places.server import ServerPlace

        return ServerPlace(connection_of(config), config.state)
    from indexer.places.folder import FolderPlace

    return FolderPlace(config.state)


def connection_of(config: Config) -> Connection:
    """How the server of the settings is reached; with the key for reading, if there is no other."""
    return Connection(
        config.store,
        config.qdrant_api_key or config.qdrant_read_api_key,
        config.qdrant_grpc_port,
        config.qdrant_ca,
        config.qdrant_timeout,
        config.qdrant_patience,
        config.qdrant_streams,
    )


def layout_of(config: Config) -> Layout:
    """How a new collection of the settings is laid out on a server."""
    return Layout(config.profile, config.shards, config.replicas)
