"""Where collections are kept: in a folder, or on a Qdrant server.

To add a kind of store: add one package, with a `Store` (`indexer.stores.base`) and a backend
(`indexer.collections.backend`), and one line in `BACKENDS`. The tests of both interfaces run over
`BACKENDS`; a fixture in tests/indexer/conftest.py gives them an empty store.
"""

from __future__ import annotations

from importlib import import_module

from indexer.collections.backend import CollectionBackend, CollectionIndex, CollectionIndexes
from indexer.config import Config
from indexer.errors import ConfigError
from indexer.stores.base import Layout

__all__ = [
    "CollectionBackend",
    "CollectionIndex",
    "CollectionIndexes",
    "has_backend",
    "make_layout",
    "open_backend",
]

BACKENDS = {
    "": "indexer.collections.local:LocalBackend",
    "http": "indexer.collections.qdrant:QdrantBackend",
    "https": "indexer.collections.qdrant:QdrantBackend",
}
"""URL scheme of a store ("": a folder) -> module:class, whose `from_config` creates the backend."""


def has_backend(store: str) -> bool:
    """Whether the address of a store is a folder, or a URL with a known scheme."""
    return _get_scheme(store) in BACKENDS


def open_backend(config: Config) -> CollectionBackend:
    """Return the backend of the configured store; reads nothing yet.

    Raises `ConfigError` for a URL with an unknown scheme.
    """
    if not has_backend(config.store):
        raise ConfigError(
            f"store = {config.store!r}: expected a folder, or a URL that begins with "
            + " or ".join(f"{scheme}://" for scheme in BACKENDS if scheme)
        )
    module, _, name = BACKENDS[_get_scheme(config.store)].partition(":")
    backend: CollectionBackend = getattr(import_module(module), name).from_config(config)
    return backend


def _get_scheme(store: str) -> str:
    return store.partition("://")[0] if "://" in store else ""


def make_layout(config: Config, like: Layout = Layout()) -> Layout:  # noqa: B008
    """Return the layout of a new index on a server; `like` supplies what is not configured."""
    profile = config.profile or like.profile
    same = profile == like.profile  # shards and replicas depend on the profile
    shards, replicas = (like.shards, like.replicas) if same else (None, None)
    return Layout(profile, config.shards or shards, config.replicas or replicas)
