"""Where collections are kept: in a folder, or on a Qdrant server."""

from __future__ import annotations

from indexer.collections.backend import CollectionBackend, CollectionIndex, CollectionIndexes
from indexer.config import Config
from indexer.stores.qdrant.connection import Connection, Layout

__all__ = [
    "CollectionBackend",
    "CollectionIndex",
    "CollectionIndexes",
    "make_connection",
    "make_layout",
    "open_backend",
]


def open_backend(config: Config) -> CollectionBackend:
    """The place that the settings name; nothing is read yet."""
    if config.is_remote:
        from indexer.collections.qdrant import QdrantBackend

        return QdrantBackend(make_connection(config), config.local_folder)
    from indexer.collections.local import LocalBackend

    return LocalBackend(config.local_folder)


def make_connection(config: Config) -> Connection:
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


def make_layout(config: Config, like: Layout = Layout()) -> Layout:  # noqa: B008
    """How a new index is laid out on a server; where the settings say nothing, `like` another."""
    profile = config.profile or like.profile
    same = profile == like.profile  # another profile has shards of its own
    shards, replicas = (like.shards, like.replicas) if same else (None, None)
    return Layout(profile, config.shards or shards, config.replicas or replicas)
