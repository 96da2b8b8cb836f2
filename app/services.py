"""What all sessions share: settings, models and open collections."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import TypeVar

from embedder import Embedder, ModelCard
from embedder.images.decode import DecodeLimits
from indexer.collections import CollectionIndex, open_backend
from indexer.collections.collection import OpenCollection, Summary, list_collections, tenant_dir
from indexer.collections.model import load_model
from indexer.config import Config, load_config
from indexer.search.searcher import Searcher

T = TypeVar("T")

MAX_TIMEOUT, MAX_RETRY_SECONDS = 20.0, 5.0  # seconds


@lru_cache(maxsize=1)
def get_settings() -> Config:
    """The settings of this process; raises `ConfigError`."""
    return load_config()


@lru_cache(maxsize=1)
def get_search_settings() -> Config:
    """The settings that pages search with: short timeouts, the read-only key if any."""
    config = get_settings()
    return replace(
        config,
        qdrant_api_key=config.qdrant_read_api_key or config.qdrant_api_key,
        qdrant_timeout=min(config.qdrant_timeout, MAX_TIMEOUT),
        qdrant_retry_seconds=min(config.qdrant_retry_seconds, MAX_RETRY_SECONDS),
    )


def get_decode_limits() -> DecodeLimits:
    return DecodeLimits(get_settings().max_bytes, get_settings().max_pixels)


def list_names() -> list[str]:
    return open_backend(get_search_settings()).list_names()


def summarize_collections() -> list[Summary]:
    return list_collections(get_search_settings())


def local_dir(name: str) -> Path:
    """The folder of a collection's files on this machine."""
    return tenant_dir(open_backend(get_settings()).local_dir(name), get_settings().tenant)


@lru_cache(maxsize=2)
def load_collection_model(card: ModelCard) -> Embedder:
    """The model of a collection, loaded once; raises `EmbedderError`, `IndexerError`."""
    return load_model(replace(get_settings(), model=None), card)


def open_searcher(name: str) -> Searcher:
    """Open the collection called `name`, with the index that is active now."""
    index = open_backend(get_search_settings()).get_indexes(name).in_use
    return _open_index(name, replace(index, ingested=None))


@lru_cache(maxsize=8)
def _open_index(name: str, index: CollectionIndex) -> Searcher:
    config = replace(get_search_settings(), collection=name, model=None)
    collection = OpenCollection.open_index(config, open_backend(config), index)
    return Searcher(collection, lambda: load_collection_model(collection.card))


def cache_by_file(maxsize: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Cache what a function makes of a file, its first argument, until the file changes."""

    def decorate(read: Callable[..., T]) -> Callable[..., T]:
        @lru_cache(maxsize)
        def read_version(version: tuple[int, int], path: Path, *args: Hashable) -> T:
            return read(path, *args)

        @wraps(read)
        def read_cached(path: Path, *args: Hashable) -> T:
            try:
                status = path.stat()
                version = status.st_mtime_ns, status.st_size
            except OSError:
                version = 0, 0
            return read_version(version, path, *args)

        return read_cached

    return decorate
