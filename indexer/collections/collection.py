"""A collection: a folder of state, the model it was made with, and its store."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from embedder.files import delete_stale_parts, make_private_dir, open_private
from embedder.types import ModelCard
from indexer.collections import CollectionBackend, CollectionIndex, make_layout, open_backend
from indexer.collections.model import check_model_settings, check_same_model, forget_model
from indexer.collections.schema import LATEST_TEXTS, TextIndexing
from indexer.config import Config
from indexer.errors import CollectionError, StoreBusyError, StoreError
from indexer.stores.base import MIN_FREE_BYTES, Layout, Store, check_disk_space
from indexer.stores.edge.state import is_read_only, read_only_message

log = logging.getLogger(__name__)
PAGE_SIZE = 1_000  # points deleted per request
WRITER_LOCK = "writer.lock"
SAMPLED_FILES = 16  # thumbnails per folder whose size is read


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known about a collection without opening its store."""

    name: str
    path: Path  # its folder on this machine
    points: int | None  # None: the store must be opened to count them
    card: ModelCard
    created: str  # when the active index was created
    ingested: str | None  # when the last ingest ended
    bytes_on_disk: int  # on this machine
    index: Path  # the folder of the active index's catalog
    old: CollectionIndex | None = None  # the index that `indexer reindex` replaced
    building: CollectionIndex | None = None  # the index that `indexer reindex` is building
    layout: Layout = field(default_factory=Layout)  # on a server
    texts: TextIndexing = LATEST_TEXTS  # of the active index


class OpenCollection:
    """One index of a collection with its open store. Use as a context manager, or `close()` it.

    `active_index` is that index, `path` the folder of votes and thumbnails, and `index_dir` the
    folder of the index's catalog. If the settings name a tenant, both folders and the visible
    points are the tenant's own. A collection on a server is shared (`is_shared`): other machines
    may write to it, and their files are known here only through the payloads. `closed` ends what
    is done with it in the background.
    """

    def __init__(
        self,
        config: Config,
        backend: CollectionBackend,
        index: CollectionIndex,
        store: Store,
        *,
        is_build: bool = False,
    ) -> None:
        name, tenant = config.collection, config.tenant
        self.name, self.card, self.store, self.tenant = name, index.card, store, tenant
        self.index_store = store  # the points of all tenants
        self.closed = threading.Event()
        if tenant is not None:
            from indexer.stores.tenant import TenantStore

            self.store = TenantStore(store, tenant or None)
        self.is_shared = backend.is_shared
        self._backend, self.active_index, self._is_build = backend, index, is_build
        server = index.server_collection
        self._is_new = server is not None and server.info is None  # saves a request
        self.path = tenant_dir(backend.local_dir(name), tenant)
        self.thumbnail_dir = self.find_thumbnail_dir(tenant)
        self.index_dir = tenant_dir(index.folder, tenant)

    @staticmethod
    def open(
        config: Config, index: CollectionIndex | None = None, *, for_ingest: bool = False
    ) -> OpenCollection:
        """Open an existing collection; pass `index` if it is already known.

        `for_ingest`: a local one too that is older than its counts; see `CollectionBackend.open`.

        Raises `CollectionError` if it is missing or was made with another model.
        """
        backend = open_backend(config)
        index = index or backend.find(config.collection)
        if index is None:
            index = backend.get_indexes(config.collection).in_use  # the error lists the others
        check_model_settings(config, index.card)
        return OpenCollection.open_index(config, backend, index, for_ingest=for_ingest)

    @staticmethod
    def open_or_create(config: Config, card: ModelCard) -> OpenCollection:
        """Open the collection made with `card` for an ingest; create it if it is missing."""
        backend = open_backend(config)
        index = backend.find(config.collection) or create_index(config, card)
        check_same_model(config, index.card, card)
        return OpenCollection.open_index(config, backend, index, for_ingest=True)

    @staticmethod
    def open_index(
        config: Config,
        backend: CollectionBackend,
        index: CollectionIndex,
        *,
        is_build: bool = False,
        for_ingest: bool = False,
    ) -> OpenCollection:
        """Open an index that is active, old, or being built (`is_build`). The tenant "" selects the
        points without a tenant."""
        store = backend.open(index, for_ingest=for_ingest)
        return OpenCollection(config, backend, index, store, is_build=is_build)

    def find_thumbnail_dir(self, tenant: str | None) -> Path:
        """Return the folder of a tenant's thumbnails on this machine."""
        return tenant_dir(self._backend.local_dir(self.name), tenant) / "thumbs"

    def set_texts(self, texts: TextIndexing) -> None:
        """Record what the points have for searches by words from now on."""
        self._backend.set_texts(self.name, self.active_index, texts)
        self.active_index = replace(self.active_index, texts=texts)

    def mark_ingested(self) -> None:
        """Record the current time as the end of the last ingest."""
        self._backend.mark_ingested(self.name, self.active_index)

    @contextmanager
    def lock_for_writing(self, needed: int = MIN_FREE_BYTES) -> Iterator[None]:
        """Hold the write lock.

        Raises `StoreBusyError`, `DiskFullError` if fewer than `needed` bytes are free, and
        `CollectionError` if the collection was re-indexed or deleted since it was opened.

        For an index that is being built, the caller of the build holds the lock.
        """
        if self._is_build:
            make_private_dir(self.index_dir)
            yield
            return
        folder = self._backend.local_dir(self.name)
        if not folder.exists():  # locking would create the folder of a deleted collection
            self._check_active()
        with lock_for_writing(folder, needed):
            if not self._is_new:
                self._check_active(repair=True)
            self._is_new = False
            make_private_dir(self.index_dir)
            for own in (self.path, self.index_dir, self.thumbnail_dir, self.path / "feedback"):
                delete_stale_parts(own)
            yield

    @contextmanager
    def exclude_writers(self) -> Iterator[None]:
        """Keep other processes from writing: by the write lock, or by sharing it with other readers
        where this account cannot write. Raises what `lock_for_writing` raises."""
        folder = self._backend.local_dir(self.name)
        with exclude_writers(folder) if is_read_only(folder) else self.lock_for_writing(needed=0):
            yield

    def _check_active(self, *, repair: bool = False) -> None:
        found, own = self._backend.find(self.name, repair=repair), self.active_index
        if found is None:
            raise CollectionError(
                f"collection {self.name!r} was deleted by another process; to create it again, run "
                "the command again"
            )
        if (found.key, found.created, found.card) != (own.key, own.created, own.card):
            raise CollectionError(
                f"collection {self.name!r} was re-indexed by another process; run the command again"
            )

    def close(self) -> None:
        self.closed.set()
        self.store.close()

    def __enter__(self) -> OpenCollection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def lock_for_writing(path: Path, needed: int = MIN_FREE_BYTES) -> Iterator[None]:
    """Hold the write lock of the collection in `path` on this machine; raises `StoreBusyError`,
    `DiskFullError` if fewer than `needed` bytes are free (none to read or to delete), and
    `StoreError` for a folder that cannot be written to."""
    try:
        make_private_dir(path)
        check_disk_space(path, needed)
        lock = open_private(path / WRITER_LOCK, "a+b")
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreError(read_only_message(path)) from error
        raise
    with lock as file:
        _lock(file, path)
        yield


@contextmanager
def exclude_writers(path: Path) -> Iterator[None]:
    """Keep others from writing to the collection in `path`, also where this account cannot write
    itself. Raises what `lock_for_writing` raises."""
    if not is_read_only(path):
        with lock_for_writing(path, needed=0):
            yield
        return
    with ExitStack() as stack:
        with suppress(OSError):  # there is none, or it is another account's
            lock = stack.enter_context((path / WRITER_LOCK).open("rb"))
            _lock(lock, path, shared=True)
        yield


def _lock(file: IO[bytes], path: Path, *, shared: bool = False) -> None:
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreBusyError(
            f"another ingest, prune or reindex is writing to collection {path.name!r} "
            f"({path}); wait until it has finished, then run the command again"
        ) from None


def create_collection(config: Config, card: ModelCard) -> None:
    """Create an empty collection; raises `CollectionError` if it already exists."""
    backend, name = open_backend(config), config.collection
    if backend.exists(name):
        raise CollectionError(
            f"collection {name!r} already exists; see: indexer status --collection {name}"
        )
    create_index(config, card)


def delete_collection(config: Config) -> None:
    """Delete the collection, or only the points of the configured tenant."""
    backend, name = open_backend(config), config.collection
    backend.get_indexes(name)
    with lock_for_writing(backend.local_dir(name), needed=0):
        if not config.tenant:
            backend.delete(name)
            return
        with OpenCollection.open(forget_model(config)) as own:
            while page := own.store.scroll(limit=PAGE_SIZE)[0]:
                own.store.delete([record.id for record in page])
            own.store.flush()
        shutil.rmtree(own.index_dir, ignore_errors=True)
        shutil.rmtree(own.path, ignore_errors=True)


def list_collections(config: Config) -> list[Summary]:
    """The collections of the store, sorted by name. A local store is not opened.

    A damaged collection is left out with a warning.
    """
    found = []
    for name in open_backend(config).list_names():
        try:
            found.append(summarize(config, name))
        except CollectionError as error:
            log.warning("%s", error)
    return found


def summarize(config: Config, name: str | None = None) -> Summary:
    """Describe a collection; raises `CollectionError` if it is missing or damaged."""
    backend, name = open_backend(config), name or config.collection
    indexes, path = backend.get_indexes(name), backend.local_dir(name)
    return Summary(
        name,
        tenant_dir(path, config.tenant),
        None if config.tenant else backend.count_points(indexes.in_use),
        indexes.in_use.card,
        indexes.in_use.created,
        indexes.in_use.ingested,
        measure_disk_usage(path),
        tenant_dir(indexes.in_use.folder, config.tenant),
        indexes.old,
        indexes.building,
        backend.get_layout(indexes.in_use),
        indexes.in_use.texts,
    )


def create_index(config: Config, card: ModelCard) -> CollectionIndex:
    """Create the collection that the settings name, which does not exist; returns its index.

    Raises `CollectionError` if another process has just created it with another model.
    """
    backend = open_backend(config)
    with lock_for_writing(backend.local_dir(config.collection)):
        texts = TextIndexing(names=config.names is not False)
        index = backend.create(config.collection, card, make_layout(config), texts)
    check_same_model(config, index.card, card)
    return index


def tenant_dir(folder: Path, tenant: str | None) -> Path:
    """The tenant's part of `folder`."""
    return folder / "tenants" / tenant if tenant else folder


def measure_disk_usage(path: Path) -> int:
    """Measure the allocated bytes (the store's files are sparse); thumbnails are sampled.

    Reading the size of 100,000 thumbnails would take longer than the rest of `status`.
    """
    total = 0
    for folder, _, names in os.walk(path):
        thumbnails = os.path.dirname(folder).endswith("thumbs")  # noqa: PTH120
        sampled = names[:: max(1, len(names) // SAMPLED_FILES)] if thumbnails else names
        size = sum(_allocated_bytes(os.path.join(folder, name)) for name in sampled)  # noqa: PTH118
        total += size * len(names) // max(1, len(sampled))
    return total


def _allocated_bytes(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:  # deleted since it was listed
        return 0
