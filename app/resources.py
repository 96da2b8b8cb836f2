"""What all sessions share: settings, models and open collections, one of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from embedder import DEFAULT_MODEL, Embedder, ModelCard
from embedder import describe as describe_model
from indexer.collection import Collection, Summary, list_collections, summary
from indexer.config import Config, resolve
from indexer.models import check_same, load_model, settings_for
from indexer.search import Searcher


@dataclass(frozen=True, slots=True)
class Opened:
    """A collection that is open, and its searcher."""

    collection: Collection
    searcher: Searcher


@lru_cache(maxsize=1)
def settings() -> Config:
    """The settings of this process; raises `ConfigError`."""
    return resolve()


def collections() -> list[Summary]:
    return list_collections(settings())


def describe(name: str) -> Summary:
    return summary(settings(), name)


@lru_cache(maxsize=2)
def model(made_with: ModelCard) -> Embedder:
    """The model that a collection was made with, loaded once; raises `EmbedderError`,
    `IndexerError`."""
    return load_model(replace(settings(), model=None), made_with)


def opened(name: str) -> Opened:
    """The collection called `name`; one that was made anew under its name is opened anew."""
    return _opened(name, describe(name).created)


@lru_cache(maxsize=8)
def _opened(name: str, created: str) -> Opened:
    collection = Collection.open(replace(settings(), collection=name, model=None))
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
