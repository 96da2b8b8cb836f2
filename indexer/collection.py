"""A collection: a folder of state, the model it was made with, and its store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from embedder.types import ModelCard
from indexer.config import Config
from indexer.errors import CollectionError, DiskFullError, StoreBusyError
from indexer.models import check_same, require_same
from indexer.places import Index, Place, layout_of, place_of
from indexer.stores.protocol import Store
from indexer.stores.tenant import TenantStore

PAGE = 1_000  # points deleted at a time
LOOKS = 16  # thumbnails of one folder whose size is asked
FREE_BYTES = 200 << 20  # the store maps its files: a full disk would kill the process


@dataclass(frozen=True, slots=True)
class Summary:
    """What can be told of a collection without opening its store."""

    name: str
    path: Path  # what is kept of it on this machine
    points: int | None  # None: only opening the store can tell
    card: ModelCard
    created: str  # when its index was begun: another index, another time
    ingested: str | None  # when the last ingest ended
    bytes_on_disk: int  # of this machine
    index: Path  # the folder of the catalogue of the index in use
    old: Index | None = None  # the index that `indexer reindex` has replaced
    building: Index | None = None  # the index that `indexer reindex` has begun


class Collection:
    """One index of a collection, its store open. Use as a context manager, or `close()` it.

    `opened` is that index; `path` is the folder of what its owner keeps (votes, thumbnails),
    `index` that of the index's catalogue. Where the settings name a tenant, both are the tenant's
    own, and so is all that is seen of the store. One on a server is `shared`: other machines may
    write to it, of whose files this one knows what the payloads say.
    """

    def __init__(self, config: Config, place: Place, opened: Index, store: Store) -> None:
        name, tenant = config.collection, config.tenant
        self.name, self.card, self.store, self.tenant = name, opened.card, store, tenant
        self.shared = config.is_remote
        self._place, self.opened = place, opened
        self.path = own(place.folder(name), tenant)
        self.thumbs = self.path / "thumbs"
        self.index = own(opened.folder, tenant)

    @staticmethod
    def open(config: Config) -> Collection:
        """Open what exists; raises `CollectionError` where it is missing or does not fit."""
        place = place_of(config)
        found = place.indexes(config.collection).in_use
        check_same(config, found.card)
        return Collection.open_index(config, place, found)

    @staticmethod
    def open_or_create(config: Config, card: ModelCard) -> Collection:
        """Open the collection, made with `card`, creating it where it is missing."""
        place, name = place_of(config), config.collection
        if not place.exists(name):
            _create(config, place, card)
        found = place.indexes(name).in_use
        require_same(config, found.card, card)
        return Collection.open_index(config, place, found)

    @staticmethod
    def open_index(config: Config, place: Place, index: Index) -> Collection:
        """Open an index, in use or not. A tenant "" is for the points that belong to nobody."""
        store = place.open(index)
        mine = store if config.tenant is None else TenantStore(store, config.tenant or None)
        return Collection(config, place, index, mine)

    def mark_ingested(self) -> None:
        """Record that an ingest has ended now."""
        self._place.mark_ingested(self.name, self.opened)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the collection for one writer; raises `StoreBusyError`, `DiskFullError`,
        `CollectionError` where it has been re-indexed since it was opened.

        An index that is being built is held by whoever builds it.
        """
        self.index.mkdir(parents=True, exist_ok=True)
        building = self._place.building(self.name)
        if building is not None and building.key == self.opened.key:
            yield
            return
        with writing(self._place.folder(self.name)):
            if self._place.indexes(self.name).in_use.key != self.opened.key:
                raise CollectionError(
                    f"collection {self.name!r} has been re-indexed meanwhile; type the command "
                    "again"
                )
            yield

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the collection in `path` for one writer of this machine; raises `StoreBusyError`,
    `DiskFullError`."""
    import fcntl

    path.mkdir(parents=True, exist_ok=True)
    require_disk(path)
    with (path / "writer.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(
                f"another ingest, prune or reindex is writing to collection {path.name!r} "
                f"({path}); wait until it has ended, then type the command again"
            ) from None
        yield


def create(config: Config, card: ModelCard) -> None:
    """Make an empty collection; raises `CollectionError` where it is there already."""
    place, name = place_of(config), config.collection
    if place.exists(name):
        raise CollectionError(
            f"there is a collection {name!r} already; type: indexer status --collection {name}"
        )
    _create(config, place, card)


def remove(config: Config) -> None:
    """Delete the collection, or what the tenant of the settings has of it."""
    place, name = place_of(config), config.collection
    place.indexes(name)
    with writing(place.folder(name)):
        if not config.tenant:
            place.delete(name)
            return
        with Collection.open(replace(config, model=None, dim=None, pixel_budget=None)) as mine:
            while page := mine.store.scroll(limit=PAGE)[0]:
                mine.store.delete([record.id for record in page])
            mine.store.flush()
        shutil.rmtree(mine.index, ignore_errors=True)
        shutil.rmtree(mine.path, ignore_errors=True)


def list_collections(config: Config) -> list[Summary]:
    """The collections of the store, by name. On this disk, small files alone are read."""
    return [summary(config, name) for name in place_of(config).names()]


def summary(config: Config, name: str | None = None) -> Summary:
    """What a collection holds; raises `CollectionError` where it is not there, or damaged."""
    place, name = place_of(config), name or config.collection
    found, path = place.indexes(name), place.folder(name)
    return Summary(
        name,
        own(path, config.tenant),
        None if config.tenant else place.points(found.in_use),
        found.in_use.card,
        found.in_use.created,
        found.in_use.ingested,
        disk_usage(path),
        own(found.in_use.folder, config.tenant),
        found.old,
        found.building,
    )


def _create(config: Config, place: Place, card: ModelCard) -> None:
    folder = place.folder(config.collection)
    folder.mkdir(parents=True, exist_ok=True)
    require_disk(folder)
    place.create(config.collection, card, layout_of(config))


def own(folder: Path, tenant: str | None) -> Path:
    """What a tenant has of `folder`."""
    return folder / "tenants" / tenant if tenant else folder


def require_disk(path: Path, needed: int = FREE_BYTES) -> None:
    """Raise `DiskFullError` where fewer than `needed` bytes are free."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DiskFullError(
            f"only {free >> 20} MB are free on the disk of {path}; {needed >> 20} MB are "
            "needed to write safely: free some space, or choose another disk with --store"
        )


def disk_usage(path: Path) -> int:
    """Bytes really used, for the store's files are sparse; of many thumbnails, some stand for all.

    A look at each of 100,000 would take longer than all else that `status` does.
    """
    total = 0
    for folder, _, names in os.walk(path):
        thumbnails = os.path.dirname(folder).endswith("thumbs")  # noqa: PTH120
        looked = names[:: max(1, len(names) // LOOKS)] if thumbnails else names
        size = sum(_blocks(os.path.join(folder, name)) for name in looked)  # noqa: PTH118
        total += size * len(names) // max(1, len(looked))
    return total


def _blocks(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:  # it has gone meanwhile
        return 0
