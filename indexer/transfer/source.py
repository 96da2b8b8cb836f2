"""Where points come from: a collection of some store, or a file that `indexer snapshot` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from embedder.types import ModelCard
from indexer.collections import CollectionBackend, CollectionIndex, open_backend
from indexer.collections.collection import OpenCollection
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.stores.base import Store
from indexer.stores.qdrant.connection import redact_password
from indexer.types import Record

PAGE_SIZE = 256  # points read, written and acknowledged at a time


class Page(NamedTuple):
    """Some points, and where the next page begins (None at the end)."""

    records: list[Record]
    next_id: str | None


@dataclass(frozen=True, slots=True)
class PointCounts:
    """How many points there are, in all and of each kind."""

    points: int
    kinds: dict[str, int] = field(default_factory=dict)


class PointSource(Protocol):
    """Points in a fixed order, and what belongs to them on this machine."""

    label: str  # for messages
    card: ModelCard
    identity: str  # another one where the points are others
    ingested: str | None
    path: Path  # the folder with thumbnails and votes
    index: Path  # the folder with the catalogue

    def counts(self) -> PointCounts: ...

    def iter_pages(self, after: str | None = None) -> Iterator[Page]:
        """All pages, or those from `after` on; with vectors."""
        ...

    def sample(self, size: int) -> list[Record]:
        """Some points, drawn at random; with vectors."""
        ...

    def is_unchanged(self) -> bool:
        """Whether the points are still those that there were at first."""
        ...


class CollectionSource:
    """The index in use of a collection that is open."""

    def __init__(
        self, place: CollectionBackend, opened: OpenCollection, index: CollectionIndex, label: str
    ) -> None:
        self.label, self.card, self.ingested = label, index.card, index.ingested
        self.path, self.index = opened.path, opened.index_dir
        self._place, self._name, self._store, self._found = place, opened.name, opened.store, index
        self._counts = count_points(opened.store)
        told = (opened.name, index.key, index.created, index.ingested, opened.tenant)
        self.identity = " ".join(map(str, (*told, self._counts.points)))

    def counts(self) -> PointCounts:
        return self._counts

    def iter_pages(self, after: str | None = None) -> Iterator[Page]:
        while True:
            page = Page(*self._store.scroll(limit=PAGE_SIZE, after=after, vectors=True))
            yield page
            after = page.next_id
            if after is None:
                return

    def sample(self, size: int) -> list[Record]:
        from qdrant_client import models

        drawn = models.SampleQuery(sample=models.Sample.RANDOM)
        points = self._store.query(models.QueryRequest(query=drawn, limit=size))
        return self._store.retrieve([point.id for point in points], vectors=True)

    def is_unchanged(self) -> bool:
        """A server's collection may be written to from elsewhere."""
        found = self._place.get_indexes(self._name).in_use
        same = (found.key, found.ingested) == (self._found.key, self._found.ingested)
        return same and count_points(self._store) == self._counts


@contextmanager
def open_source_collection(config: Config) -> Iterator[CollectionSource]:
    """The collection that `config` names, whatever its model, held so that nobody here writes to
    it; raises `CollectionError`, `StoreBusyError`."""
    config = replace(config, model=None, dim=None, pixel_budget=None)
    _check_store_exists(config)
    place = open_backend(config)
    index = place.get_indexes(config.collection).in_use
    with OpenCollection.open_index(config, place, index) as collection:
        if config.tenant and not collection.store.count():
            raise CollectionError(
                f"tenant {config.tenant!r} has no points in {format_location(config)}"
            )
        with collection.lock_for_writing():
            yield CollectionSource(place, collection, index, format_location(config))


def count_points(store: Store) -> PointCounts:
    return PointCounts(store.count(), dict(store.facet("kind", limit=100)))


def format_location(config: Config) -> str:
    """'family' in /home/ada/polylens"""
    return f"{config.collection!r} in {redact_password(config.store)}"


def _check_store_exists(config: Config) -> None:
    """A slip that is easily made: a collection's own folder in place of the store's."""
    path = Path(config.store)
    if not config.is_remote and (path / "collection.json").exists():
        raise CollectionError(
            f"{path} is the folder of one collection; name the store that it lies in: "
            f"{path.parent} --collection {path.name}"
        )
