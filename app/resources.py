"""What all sessions share: settings, models and open collections, one of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from embedder import DEFAULT_MODEL, Embedder, ModelCard
from embedder import describe as describe_model
from indexer.collection import Collection, Summary, list_collections, own
from indexer.config import Config, resolve
from indexer.models import check_same, load_model, settings_for
from indexer.places import Index, place_of
from indexer.search import Searcher

TIMEOUT, PATIENCE = 20.0, 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Opened:
    """A collection that is open, and its searcher."""

    collection: Collection
    searcher: Searcher


@lru_cache(maxsize=1)
def settings() -> Config:
    """The settings of this process; raises `ConfigError`."""
    return resolve()


@lru_cache(maxsize=1)
def searching() -> Config:
    """The settings that pages search with: a key that may not write, where one is given, and little
    patience with a server, for somebody is waiting."""
    config = settings()
    return replace(
        config,
        qdrant_api_key=config.qdrant_read_api_key or config.qdrant_api_key,
        qdrant_timeout=min(config.qdrant_timeout, TIMEOUT),
        qdrant_patience=min(config.qdrant_patience, PATIENCE),
    )


def names() -> list[str]:
    return place_of(searching()).names()


def collections() -> list[Summary]:
    return list_collections(searching())


def kept(name: str) -> Path:
    """The folder of what is kept of a collection on this machine."""
    return own(place_of(settings()).folder(name), settings().tenant)


@lru_cache(maxsize=2)
def model(made_with: ModelCard) -> Embedder:
    """The model that a collection was made with, loaded once; raises `EmbedderError`,
    `IndexerError`."""
    return load_model(replace(settings(), model=None), made_with)


def opened(name: str) -> Opened:
    """The collection called `name`; its index in use, whichever that is by now."""
    return _opened(name, replace(place_of(searching()).indexes(name).in_use, ingested=None))


@lru_cache(maxsize=8)
def _opened(name: str, index: Index) -> Opened:
    config = replace(searching(), collection=name, model=None)
    collection = Collection.open_index(config, place_of(config), index)
    return Opened(collection, Searcher(collection, lambda: model(collection.card)))


def model_of(name: str, chosen: str | None = None) -> Embedder:
    """The model of a collection, or the one that a new collection gets.

    Raises `EmbedderError`; `CollectionError` where `chosen` is another than the collection's.
    """
    made = {found.name: found.card for found in collections()}
    config = replace(settings(), collection=name, model=chosen or settings().model)
    if name in made:
        check_same(config, made[name])
        return model(made[name])
    return model(describe_model(config.model or DEFAULT_MODEL, settings_for(config)))
