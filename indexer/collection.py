"""A collection: a folder of state, the model it was made with, and its store."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder.types import ModelCard
from indexer.config import Config
from indexer.errors import CollectionError, DiskFullError, StoreBusyError
from indexer.models import check_same, require_same
from indexer.schema import FORMAT, schema
from indexer.stores import counts, open_store
from indexer.stores.protocol import Store

META = "collection.json"
LOOKS = 16  # thumbnails of one folder whose size is asked
FREE_BYTES = 200 << 20  # the store maps its files: a full disk would kill the process


@dataclass(frozen=True, slots=True)
class Summary:
    """What can be told of a collection without opening its store."""

    name: str
    path: Path
    points: int | None  # None: only opening the store can tell
    card: ModelCard
    created: str
    ingested: str | None  # when the last ingest ended
    bytes_on_disk: int


class Collection:
    """One collection, its store open. Use as a context manager, or `close()` it."""

    def __init__(self, name: str, path: Path, card: ModelCard, store: Store) -> None:
        self.name, self.path, self.card, self.store = name, path, card, store

    @property
    def thumbs(self) -> Path:
        return self.path / "thumbs"

    @staticmethod
    def open(config: Config) -> Collection:
        """Open what exists; raises `CollectionError` where it is missing or does not fit."""
        path = config.state / config.collection
        card = read_card(path)
        check_same(config, card)
        return _opened(config, path, card)

    @staticmethod
    def open_or_create(config: Config, card: ModelCard) -> Collection:
        """Open the collection, made with `card`, creating it where it is missing."""
        path = config.state / config.collection
        if (path / META).exists():
            require_same(config, read_card(path), card)
        else:
            _create(path, card)
        return _opened(config, path, card)

    def mark_ingested(self) -> None:
        """Record that an ingest has ended now."""
        _write_meta(self.path, {**_read_meta(self.path), "ingested": _now()})

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the collection for one writer; raises `StoreBusyError`, `DiskFullError`."""
        import fcntl

        require_disk(self.path)
        with (self.path / "writer.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreBusyError(
                    f"another ingest or prune is writing to collection {self.name!r} "
                    f"({self.path}); wait until it has ended, then type the command again"
                ) from None
            yield

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def list_collections(config: Config) -> list[Summary]:
    """The collections of the store, by name. Reads small files only."""
    if not config.state.is_dir():
        return []
    return [summary(p.parent) for p in sorted(config.state.glob(f"*/{META}"))]


def summary(path: Path) -> Summary:
    """What `path` holds; raises `CollectionError` where it is no readable collection."""
    meta = _read_meta(path)
    size = _disk_usage(path)
    return Summary(
        path.name, path, counts(path), _card(meta), meta["created"], meta.get("ingested"), size
    )


def read_card(path: Path) -> ModelCard:
    """The card of the model that the collection in `path` was made with."""
    return _card(_read_meta(path))


def require_disk(path: Path) -> None:
    """Raise `DiskFullError` where fewer than `FREE_BYTES` are free."""
    free = shutil.disk_usage(path).free
    if free < FREE_BYTES:
        raise DiskFullError(
            f"only {free >> 20} MB are free on the disk of {path}; {FREE_BYTES >> 20} MB are "
            "needed to write safely: free some space, or choose another disk with --store"
        )


def _opened(config: Config, path: Path, card: ModelCard) -> Collection:
    location = config.store if config.is_remote else config.state
    store = open_store(location, config.collection, api_key=config.qdrant_api_key)
    store.ensure(schema(card.dim))
    return Collection(config.collection, path, card, store)


def _create(path: Path, card: ModelCard) -> None:
    path.mkdir(parents=True, exist_ok=True)
    require_disk(path)
    if (path / "shard").exists():
        raise CollectionError(
            f"{path} holds points but no {META}: restore that file from a backup, or delete the "
            "folder and ingest again"
        )
    _write_meta(path, {"format": FORMAT, "created": _now(), "card": asdict(card)})


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads((path / META).read_text("utf-8"))
        version = int(meta["format"])
        _card(meta)
    except FileNotFoundError:
        raise CollectionError(
            f"there is no collection {path.name!r} in {path.parent}; "
            "type: indexer ingest FOLDER" + _elsewhere(path)
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollectionError(
            f"{path / META} is damaged ({error}): restore it from a backup, or delete {path} and "
            "ingest again; your pictures are not touched"
        ) from error
    if version > FORMAT:
        raise CollectionError(
            f"collection {path.name!r} has format {version}, and this program reads up to "
            f"{FORMAT}: update it (pip install --upgrade polylens)"
        )
    return dict(meta)


def _elsewhere(path: Path) -> str:
    others = ", ".join(sorted(p.parent.name for p in path.parent.glob(f"*/{META}")))
    return f", or name one of these with --collection: {others}" if others else ""


def _card(meta: dict[str, Any]) -> ModelCard:
    known = {f.name for f in fields(ModelCard)}
    card = ModelCard(**{k: v for k, v in meta["card"].items() if k in known})
    return replace(
        card,
        modalities=tuple(card.modalities),
        languages=tuple(card.languages),
        matryoshka=tuple(card.matryoshka),
    )


def _write_meta(path: Path, meta: dict[str, Any]) -> None:
    fresh = path / f"{META}.{os.getpid()}"
    fresh.write_text(json.dumps(meta, indent=2, ensure_ascii=False), "utf-8")
    fresh.replace(path / META)


def _disk_usage(path: Path) -> int:
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
