"""A collection: a folder of state, the model it was made with, and its store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from embedder.types import ModelCard
from indexer.collections import CollectionBackend, CollectionIndex, make_layout, open_backend
from indexer.collections.model import check_model_settings, check_same_model
from indexer.config import Config
from indexer.errors import CollectionError, DiskFullError, StoreBusyError
from indexer.stores.base import Store
from indexer.stores.tenant import TenantStore

PAGE_SIZE = 1_000  # points deleted at a time
SAMPLED_FILES = 16  # thumbnails of one folder whose size is asked
MIN_FREE_BYTES = 200 << 20  # the store maps its files: a full disk would kill the process


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
    old: CollectionIndex | None = None  # the index that `indexer reindex` has replaced
    building: CollectionIndex | None = None  # the index that `indexer reindex` has begun


class OpenCollection:
    """One index of a collection, its store open. Use as a context manager, or `close()` it.

    `active_index` is that index; `path` is the folder of what its owner keeps (votes, thumbnails),
    `index_dir` that of the index's catalog. Where the settings name a tenant, both are the tenant's
    own, and so is all that is seen of the store. One on a server is `shared`: other machines may
    write to it, of whose files this one knows what the payloads say.
    """

    def __init__(
        self,
        config: Config,
        place: CollectionBackend,
        opened: CollectionIndex,
        store: Store,
        *,
        is_build: bool = False,
    ) -> None:
        name, tenant = config.collection, config.tenant
        self.name, self.card, self.store, self.tenant = name, opened.card, store, tenant
        self.is_shared = place.is_shared
        self._backend, self.active_index, self._is_build = place, opened, is_build
        self.path = tenant_dir(place.local_dir(name), tenant)
        self.thumbnail_dir = self.path / "thumbs"
        self.index_dir = tenant_dir(opened.folder, tenant)

    @staticmethod
    def open(config: Config, index: CollectionIndex | None = None) -> OpenCollection:
        """Open what exists, `index` if it has been found already.

        Raises `CollectionError` where it is missing or does not fit.
        """
        backend = open_backend(config)
        index = index or backend.find(config.collection)
        if index is None:
            index = backend.get_indexes(config.collection).in_use  # the error says what there is
        check_model_settings(config, index.card)
        return OpenCollection.open_index(config, backend, index)

    @staticmethod
    def open_or_create(
        config: Config, card: ModelCard, index: CollectionIndex | None = None
    ) -> OpenCollection:
        """Open the collection, made with `card`, creating it where it is missing."""
        backend = open_backend(config)
        index = index or backend.find(config.collection) or create_index(config, card)
        check_same_model(config, index.card, card)
        return OpenCollection.open_index(config, backend, index)

    @staticmethod
    def open_index(
        config: Config,
        place: CollectionBackend,
        index: CollectionIndex,
        *,
        is_build: bool = False,
    ) -> OpenCollection:
        """Open an index, active, old, or being built (`is_build`). A tenant "" is for the points
        that belong to nobody."""
        store = place.open(index)
        mine = store if config.tenant is None else TenantStore(store, config.tenant or None)
        return OpenCollection(config, place, index, mine, is_build=is_build)

    def mark_ingested(self) -> None:
        """Record that an ingest has ended now."""
        self._backend.mark_ingested(self.name, self.active_index)

    @contextmanager
    def lock_for_writing(self) -> Iterator[None]:
        """Hold the collection for one writer; raises `StoreBusyError`, `DiskFullError`,
        `CollectionError` where it has been re-indexed since it was opened.

        An index that is being built is locked by whoever builds it.
        """
        self.index_dir.mkdir(parents=True, exist_ok=True)
        if self._is_build:
            yield
            return
        with lock_for_writing(self._backend.local_dir(self.name)):
            index = self.active_index
            is_new = index.found is not None and index.found.info is None
            if not is_new and self._find_active_key() != index.key:
                raise CollectionError(
                    f"collection {self.name!r} has been re-indexed in the meantime; run the "
                    "command again"
                )
            yield

    def _find_active_key(self) -> str | None:
        index = self._backend.find(self.name)
        return index.key if index else None

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> OpenCollection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def lock_for_writing(path: Path) -> Iterator[None]:
    """Hold the collection in `path` for one writer of this machine; raises `StoreBusyError`,
    `DiskFullError`."""
    import fcntl

    path.mkdir(parents=True, exist_ok=True)
    check_disk_space(path)
    with (path / "writer.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusyError(
                f"another ingest, prune or reindex is writing to collection {path.name!r} "
                f"({path}); wait until it has ended, then type the command again"
            ) from None
        yield


def create_collection(config: Config, card: ModelCard) -> None:
    """Make an empty collection; raises `CollectionError` where it is there already."""
    place, name = open_backend(config), config.collection
    if place.exists(name):
        raise CollectionError(
            f"there is a collection {name!r} already; type: indexer status --collection {name}"
        )
    create_index(config, card)


def delete_collection(config: Config) -> None:
    """Delete the collection, or what the tenant of the settings has of it."""
    place, name = open_backend(config), config.collection
    place.get_indexes(name)
    with lock_for_writing(place.local_dir(name)):
        if not config.tenant:
            place.delete(name)
            return
        with OpenCollection.open(replace(config, model=None, dim=None, pixel_budget=None)) as mine:
            while page := mine.store.scroll(limit=PAGE_SIZE)[0]:
                mine.store.delete([record.id for record in page])
            mine.store.flush()
        shutil.rmtree(mine.index_dir, ignore_errors=True)
        shutil.rmtree(mine.path, ignore_errors=True)


def list_collections(config: Config) -> list[Summary]:
    """The collections of the store, by name. On this disk, small files alone are read."""
    return [summarize(config, name) for name in open_backend(config).list_names()]


def summarize(config: Config, name: str | None = None) -> Summary:
    """What a collection holds; raises `CollectionError` where it is not there, or damaged."""
    place, name = open_backend(config), name or config.collection
    found, path = place.get_indexes(name), place.local_dir(name)
    return Summary(
        name,
        tenant_dir(path, config.tenant),
        None if config.tenant else place.count_points(found.in_use),
        found.in_use.card,
        found.in_use.created,
        found.in_use.ingested,
        measure_disk_usage(path),
        tenant_dir(found.in_use.folder, config.tenant),
        found.old,
        found.building,
    )


def create_index(config: Config, card: ModelCard) -> CollectionIndex:
    """Create the collection that the settings name, which does not exist; returns its index."""
    backend = open_backend(config)
    folder = backend.local_dir(config.collection)
    folder.mkdir(parents=True, exist_ok=True)
    check_disk_space(folder)
    return backend.create(config.collection, card, make_layout(config))


def tenant_dir(folder: Path, tenant: str | None) -> Path:
    """What a tenant has of `folder`."""
    return folder / "tenants" / tenant if tenant else folder


def check_disk_space(path: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raise `DiskFullError` where fewer than `needed` bytes are free."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DiskFullError(
            f"only {free >> 20} MB are free on the disk of {path}; {needed >> 20} MB are "
            "needed to write safely: free some space, or choose another disk with --store"
        )


def measure_disk_usage(path: Path) -> int:
    """Bytes really used, for the store's files are sparse; of many thumbnails, some stand for all.

    A look at each of 100,000 would take longer than all else that `status` does.
    """
    total = 0
    for folder, _, names in os.walk(path):
        thumbnails = os.path.dirname(folder).endswith("thumbs")  # noqa: PTH120
        looked = names[:: max(1, len(names) // SAMPLED_FILES)] if thumbnails else names
        size = sum(_allocated_bytes(os.path.join(folder, name)) for name in looked)  # noqa: PTH118
        total += size * len(names) // max(1, len(looked))
    return total


def _allocated_bytes(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:  # it was deleted in the meantime
        return 0
