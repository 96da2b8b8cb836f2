"""A collection: a folder of state, the model it was made with, and its store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from embedder.types import ModelCard
from indexer.config import Config
from indexer.errors import CollectionError, DiskFullError, StoreBusyError
from indexer.generations import Building, building
from indexer.meta import META, card_in, index_in, now, read_meta, write_meta
from indexer.models import check_same, require_same
from indexer.schema import schema
from indexer.stores import counts, open_store
from indexer.stores.protocol import Store

LOOKS = 16  # thumbnails of one folder whose size is asked
FREE_BYTES = 200 << 20  # the store maps its files: a full disk would kill the process


@dataclass(frozen=True, slots=True)
class Summary:
    """What can be told of a collection without opening its store."""

    name: str
    path: Path
    points: int | None  # None: only opening the store can tell
    card: ModelCard
    created: str  # when its index was begun: another index, another time
    ingested: str | None  # when the last ingest ended
    bytes_on_disk: int
    index: Path  # the folder of the index in use
    old: ModelCard | None = None  # the model of the index that `indexer reindex` has replaced
    building: Building | None = None  # the index that `indexer reindex` has begun


class Collection:
    """One collection, its store open. Use as a context manager, or `close()` it.

    `path` is its folder, `index` the folder of the index that is open: the same, or one within it.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        card: ModelCard,
        store: Store,
        index: Path | None = None,
        thumbs: Path | None = None,
    ) -> None:
        self.name, self.path, self.card, self.store = name, path, card, store
        self.index, self.thumbs = index or path, thumbs or path / "thumbs"

    @staticmethod
    def open(config: Config) -> Collection:
        """Open what exists; raises `CollectionError` where it is missing or does not fit."""
        path = config.state / config.collection
        meta = read_meta(path)
        check_same(config, card_in(meta))
        return _opened(config, path, card_in(meta), index_in(path, meta))

    @staticmethod
    def open_or_create(config: Config, card: ModelCard) -> Collection:
        """Open the collection, made with `card`, creating it where it is missing."""
        path = config.state / config.collection
        if not (path / META).exists():
            _create(path, card)
        meta = read_meta(path)
        require_same(config, card_in(meta), card)
        return _opened(config, path, card, index_in(path, meta))

    @staticmethod
    def open_index(config: Config, index: Path) -> Collection:
        """Open an index that is not in use as a collection of its own, with shared thumbnails."""
        card = card_in(read_meta(index))
        thumbs = config.state / config.collection / "thumbs"
        return Collection(config.collection, index, card, _embedded(index, card), thumbs=thumbs)

    def mark_ingested(self) -> None:
        """Record that an ingest has ended now."""
        write_meta(self.path, {**read_meta(self.path), "ingested": now()})

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the collection for one writer; raises `StoreBusyError`, `DiskFullError`,
        `CollectionError` where it has been re-indexed since it was opened."""
        with writing(self.path):
            if index_in(self.path, read_meta(self.path)) != self.index:
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
    """Hold the collection in `path` for one writer; raises `StoreBusyError`, `DiskFullError`."""
    import fcntl

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


def list_collections(config: Config) -> list[Summary]:
    """The collections of the store, by name. Reads small files only."""
    if not config.state.is_dir():
        return []
    return [summary(p.parent) for p in sorted(config.state.glob(f"*/{META}"))]


def summary(path: Path) -> Summary:
    """What `path` holds; raises `CollectionError` where it is no readable collection."""
    meta = read_meta(path)
    index = index_in(path, meta)
    return Summary(
        path.name,
        path,
        counts(index),
        card_in(meta),
        meta["created"],
        meta.get("ingested"),
        disk_usage(path),
        index,
        card_in(meta["old"]) if "old" in meta else None,
        building(path),
    )


def read_card(path: Path) -> ModelCard:
    """The card of the model that the collection in `path` was made with."""
    return card_in(read_meta(path))


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


def _opened(config: Config, path: Path, card: ModelCard, index: Path) -> Collection:
    if not config.is_remote:
        return Collection(config.collection, path, card, _embedded(index, card), index)
    store = open_store(config.store, config.collection, api_key=config.qdrant_api_key)
    store.ensure(schema(card.dim))
    return Collection(config.collection, path, card, store)


def _embedded(index: Path, card: ModelCard) -> Store:
    store = open_store(index.parent, index.name)
    store.ensure(schema(card.dim))
    return store


def _create(path: Path, card: ModelCard) -> None:
    path.mkdir(parents=True, exist_ok=True)
    require_disk(path)
    if (path / "shard").exists():
        raise CollectionError(
            f"{path} holds points but no {META}: restore that file from a backup, or delete the "
            "folder and ingest again"
        )
    write_meta(path, {"created": now(), "card": asdict(card)})


def _blocks(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:  # it has gone meanwhile
        return 0
