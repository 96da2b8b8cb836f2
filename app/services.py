"""What all sessions share: settings, models and open collections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

from app.caching import SharedCache
from embedder import Embedder, ModelCard, Reranker
from embedder.images.decode import DecodeLimits
from indexer.collections import CollectionIndex, open_backend
from indexer.collections.collection import OpenCollection, Summary, list_collections, tenant_dir
from indexer.collections.model import check_installed_model, load_model
from indexer.collections.model_hosts import check_model_host
from indexer.config import Config, load_config
from indexer.ingest.tagging import tag_points
from indexer.search.filter_syntax import format_filters
from indexer.search.rerank import HitReranker, load_configured_reranker
from indexer.search.searcher import Searcher
from indexer.stores.edge.state import identify_folder
from indexer.types import Filters, Payload, Query

SUMMARY_SECONDS = 5.0  # between two walks through the files of a store, for all sessions
FACET_SECONDS = 10.0  # before facets are counted again where no points have come or gone
MAX_FACET_VALUES = 50  # that are listed
MAX_COUNTED_VALUES = 1_000  # for the tree of folders
SAMPLE_SIZE = 1_000  # points whose columns are counted
MAX_FOUND_VALUES = 2_000  # that are looked through

Facets = dict[str, list[tuple[str, int]]]
"""Facet -> its most common values, each with the number of points."""

_settings: SharedCache[Config] = SharedCache(1)
_summaries: SharedCache[list[Summary]] = SharedCache(1)
_models: SharedCache[Embedder] = SharedCache(2)
_rerankers: SharedCache[HitReranker] = SharedCache(1)
_reranker_models: SharedCache[Reranker] = SharedCache(1)
_searchers: SharedCache[Searcher] = SharedCache(8)
_facets: SharedCache[Facets] = SharedCache(64)
_samples: SharedCache[list[Payload]] = SharedCache(16)


def configure(config: Config | None = None) -> None:
    """Use these settings instead of those of the environment, and forget what was opened."""
    for cache in (_settings, _summaries, _models, _searchers, _facets, _samples):
        cache.clear()
    for cache_of_rerankers in (_rerankers, _reranker_models):
        cache_of_rerankers.clear()
    if config is not None:
        _settings.get("settings", lambda: config)


def get_settings() -> Config:
    """The settings of this process; raises `ConfigError`."""
    return _settings.get("settings", load_config)


def get_search_settings() -> Config:
    """The settings that pages search with: a short timeout, the read-only key if any."""
    config = get_settings().for_reading()
    return replace(config, qdrant_api_key=config.qdrant_read_api_key or config.qdrant_api_key)


def get_decode_limits() -> DecodeLimits:
    return DecodeLimits(get_settings().max_bytes, get_settings().max_pixels)


def list_names() -> list[str]:
    return open_backend(get_search_settings()).list_names()


def summarize_collections() -> list[Summary]:
    """What was known of all collections some seconds ago; raises `IndexerError`."""
    period = monotonic() // SUMMARY_SECONDS
    return _summaries.get("all", lambda: list_collections(get_search_settings()), version=period)


def local_dir(name: str) -> Path:
    """The folder of a collection's files on this machine."""
    return tenant_dir(open_backend(get_settings()).local_dir(name), get_settings().tenant)


def load_collection_model(name: str, card: ModelCard) -> Embedder:
    """The model of the collection `name`, loaded once; raises `EmbedderError`, `IndexerError`."""
    config = replace(get_settings(), collection=name, model=card.name)
    check_installed_model(config, card)

    def load() -> Embedder:
        check_model_host(get_settings(), card.name)
        return load_model(config, card)

    return _models.get((card.name, card.fingerprint), load)


def open_reranker() -> HitReranker | None:
    """The reranker of the settings, if any; its model loads once, when a search first needs it."""
    config = get_settings()
    name = config.reranker
    if name is None:
        return None
    load = partial(_reranker_models.get, name, partial(load_configured_reranker, config, name))
    return _rerankers.get(name, lambda: HitReranker(name, load, config.rerank_depth))


def open_searcher(name: str) -> Searcher:
    """Open the collection called `name`, with the index that is active now."""
    index = open_backend(get_search_settings()).get_indexes(name).in_use
    index = replace(index, ingested=None)
    # a folder that was restored from a backup is another one, whatever it says of its index
    folder = identify_folder(index.folder) if index.folder.exists() else None
    return _searchers.get(name, lambda: _open_index(name, index), version=(index, folder))


def _open_index(name: str, index: CollectionIndex) -> Searcher:
    config = replace(get_search_settings(), collection=name, model=None)
    collection = OpenCollection.open_index(config, open_backend(config), index)
    return Searcher(collection, lambda: load_collection_model(name, collection.card))


def list_facets(filters: Filters, searcher: Searcher) -> Facets:
    """Count the most common values of each facet, for all sessions once."""
    version = (searcher.collection.store.count(), monotonic() // FACET_SECONDS)
    key = (searcher.collection.index_dir, *format_filters(filters))
    return _facets.get(key, lambda: searcher.facets(filters, MAX_COUNTED_VALUES), version)


def sample_payloads(filters: Filters, searcher: Searcher) -> list[Payload]:
    """The payloads of some points that pass the filters, for columns that are not indexed."""
    version = (searcher.collection.store.count(), monotonic() // FACET_SECONDS)
    key = (searcher.collection.index_dir, *format_filters(filters))

    def load() -> list[Payload]:
        query = Query(parts=(), filters=filters, limit=SAMPLE_SIZE)
        return [hit.payload for hit in searcher.search(query).hits]

    return _samples.get(key, load, version)


def change_tags(
    name: str, ids: Sequence[str], add: Sequence[str], remove: Sequence[str]
) -> list[str]:
    """Change the tags of points of the collection `name`; returns the ids of those that changed.

    Raises what `tag_points` raises.
    """
    config = replace(get_settings(), collection=name, model=None)
    with OpenCollection.open(config) as collection:  # searches may have a key that only reads
        changed = tag_points(collection.store, ids, add=add, remove=remove)
    for cache in (_facets, _samples):
        cache.clear()
    return changed


def find_facet_values(
    filters: Filters, searcher: Searcher, key: str, contains: str
) -> list[tuple[str, int]]:
    """The values of a facet in which a text occurs, the most common first."""
    wanted = contains.casefold()
    counts = searcher.facets(filters, MAX_FOUND_VALUES, [key]).get(key, [])
    found = [(value, count) for value, count in counts if wanted in str(value).casefold()]
    return found[:MAX_FACET_VALUES]
