"""Where points come from: a collection of some store, or a file that `indexer snapshot` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from embedder.types import ModelCard
from indexer.collection import Collection
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.places import Index, Place, place_of
from indexer.stores.connection import masked
from indexer.stores.protocol import Store
from indexer.types import Record

PAGE = 256  # points read, written and acknowledged at a time


class Page(NamedTuple):
    """Some points, and where the next page begins (None at the end)."""

    records: list[Record]
    following: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many points there are, in all and of each kind."""

    points: int
    kinds: dict[str, int] = field(default_factory=dict)


class Source(Protocol):
    """Points in a fixed order, and what belongs to them on this machine."""

    label: str  # for messages
    card: ModelCard
    identity: str  # another one where the points are others
    ingested: str | None
    path: Path  # the folder with thumbnails and votes
    index: Path  # the folder with the catalogue

    def counts(self) -> Counts: ...

    def pages(self, after: str | None = None) -> Iterator[Page]:
        """All pages, or those from `after` on; with vectors."""
        ...

    def sample(self, size: int) -> list[Record]:
        """Some points, drawn at random; with vectors."""
        ...

    def unchanged(self) -> bool:
        """Whether the points are still those that there were at first."""
        ...


class CollectionSource:
    """The index in use of a collection that is open."""

    def __init__(self, place: Place, opened: Collection, index: Index, label: str) -> None:
        self.label, self.card, self.ingested = label, index.card, index.ingested
        self.path, self.index = opened.path, opened.index
        self._place, self._name, self._store, self._found = place, opened.name, opened.store, index
        self._counts = count(opened.store)
        told = (opened.name, index.key, index.created, index.ingested, opened.tenant)
        self.identity = " ".join(map(str, (*told, self._counts.points)))

    def counts(self) -> Counts:
        return self._counts

    def pages(self, after: str | None = None) -> Iterator[Page]:
        while True:
            page = Page(*self._store.scroll(limit=PAGE, after=after, vectors=True))
            yield page
            after = page.following
            if after is None:
                return

    def sample(self, size: int) -> list[Record]:
        from qdrant_client import models

        drawn = models.SampleQuery(sample=models.Sample.RANDOM)
        points = self._store.query(models.QueryRequest(query=drawn, limit=size))
        return self._store.retrieve([point.id for point in points], vectors=True)

    def unchanged(self) -> bool:
        """A server's collection may be written to from elsewhere."""
        found = self._place.indexes(self._name).in_use
        same = (found.key, found.ingested) == (self._found.key, self._found.ingested)
        return same and count(self._store) == self._counts


@contextmanager
def opened(config: Config) -> Iterator[CollectionSource]:
    """The collection that `config` names, whatever its model, held so that nobody here writes to
    it; raises `CollectionError`, `StoreBusyError`."""
    config = replace(config, model=None, dim=None, pixel_budget=None)
    _require_store(config)
    place = place_of(config)
    index = place.indexes(config.collection).in_use
    with Collection.open_index(config, place, index) as collection:
        if config.tenant and not collection.store.count():
            raise CollectionError(f"tenant {config.tenant!r} has no points in {label(config)}")
        with collection.writing():
            yield CollectionSource(place, collection, index, label(config))


def count(store: Store) -> Counts:
    return Counts(store.count(), dict(store.facet("kind", limit=100)))


def label(config: Config) -> str:
    """'family' in /home/ada/polylens"""
    return f"{config.collection!r} in {masked(config.store)}"


def _require_store(config: Config) -> None:
    """A slip that is easily made: a collection's own folder in place of the store's."""
    path = Path(config.store)
    if not config.is_remote and (path / "collection.json").exists():
        raise CollectionError(
            f"{path} is the folder of one collection; name the store that it lies in: "
            f"{path.parent} --collection {path.name}"
        )
