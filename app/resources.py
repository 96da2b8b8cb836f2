"""What all sessions share: settings, models and open collections, one of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from embedder import DEFAULT_MODEL, Embedder, load
from indexer.collection import Collection, Summary, list_collections, summary
from indexer.config import Config, resolve
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
    return summary(settings().state / name)


@lru_cache(maxsize=4)
def model(name: str) -> Embedder:
    """The model called `name`, loaded once; raises `EmbedderError`."""
    return load(name, device=settings().device)


def opened(name: str) -> Opened:
    """The collection called `name`; one that was made anew under its name is opened anew."""
    return _opened(name, describe(name).created)


@lru_cache(maxsize=8)
def _opened(name: str, created: str) -> Opened:
    collection = Collection.open(replace(settings(), collection=name, model=None))
    return Opened(collection, Searcher(collection, lambda: model(collection.card.name)))


def model_of(name: str) -> str:
    """The model of a collection, or the one that a new collection would get."""
    made = {found.name: found.card.name for found in collections()}
    return made.get(name, settings().model or DEFAULT_MODEL)
