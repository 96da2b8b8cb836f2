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

        return ServerPlace(connection_of(config), config.local_folder)
    from indexer.places.folder import FolderPlace

    return FolderPlace(config.local_folder)


def connection_of(config: Config) -> Connection:
    """How the server of the settings is reached; with the key for reading, if there is no other."""
    return Connection(
        config.store,
        config.qdrant_api_key or config.qdrant_read_api_key,
        config.qdrant_grpc_port,
        config.qdrant_ca,
        config.qdrant_timeout,
        config.qdrant_retry_seconds,
        config.upload_concurrency,
    )


def layout_of(config: Config, like: Layout = Layout()) -> Layout:  # noqa: B008
    """How a new index is laid out on a server; where the settings say nothing, `like` another."""
    profile = config.profile or like.profile
    same = profile == like.profile  # another profile has shards of its own
    shards, replicas = (like.shards, like.replicas) if same else (None, None)
    return Layout(profile, config.shards or shards, config.replicas or replicas)
