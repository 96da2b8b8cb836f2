"""Collections in a folder: each is a subfolder with a collection.json."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from embedder.types import ModelCard
from indexer.collections import versions
from indexer.collections.backend import CollectionIndex, CollectionIndexes
from indexer.collections.metadata_file import (
    METADATA_FILE,
    Meta,
    active_index_dir,
    current_time,
    parse_card,
    read_metadata,
    write_metadata,
)
from indexer.collections.schema import make_schema
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.stores import count_points, open_store
from indexer.stores.base import Store
from indexer.stores.qdrant.connection import Layout


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """The collections in the folder `root`. Layouts do not apply here."""

    root: Path
    is_shared: ClassVar[bool] = False
    upload_concurrency: ClassVar[int] = 1

    @classmethod
    def from_config(cls, config: Config) -> LocalBackend:
        return cls(config.local_folder)

    @property
    def location(self) -> str:
        return str(self.root.resolve())

    def list_names(self) -> list[str]:
        return sorted(file.parent.name for file in self.root.glob(f"*/{METADATA_FILE}"))

    def exists(self, name: str) -> bool:
        return (self.local_dir(name) / METADATA_FILE).exists()

    def find(self, name: str) -> CollectionIndex | None:
        return self.get_indexes(name).in_use if self.exists(name) else None

    def local_dir(self, name: str) -> Path:
        return self.root / name

    def get_indexes(self, name: str) -> CollectionIndexes:
        if not self.exists(name) and (self.root / METADATA_FILE).exists():  # a common mistake
            raise CollectionError(
                f"{self.root} is the folder of one collection; name the store that contains it: "
                f"{self.root.parent} --collection {self.root.name}"
            )
        path = self.local_dir(name)
        meta = read_metadata(path)
        old = _make_index(path, meta["old"]) if "old" in meta else None
        return CollectionIndexes(_make_index(path, meta), old, self.get_build(name))

    def get_build(self, name: str) -> CollectionIndex | None:
        path = self.local_dir(name)
        build = versions.get_build(path)
        if build is None:
            return None
        return _make_index(
            path, {**read_metadata(build.index), "index": str(build.index.relative_to(path))}
        )

    def count_points(self, index: CollectionIndex) -> int | None:
        return count_points(index.folder)

    def get_layout(self, index: CollectionIndex) -> Layout:
        return Layout()

    def create(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        path = self.local_dir(name)
        if (path / "shard").exists():
            raise CollectionError(
                f"{path} holds points but no {METADATA_FILE}: restore that file from a backup, or "
                "delete the folder and ingest again"
            )
        path.mkdir(parents=True, exist_ok=True)
        write_metadata(path, {"created": current_time(), "card": asdict(card)})
        return self.get_indexes(name).in_use

    def start_build(self, name: str, card: ModelCard, layout: Layout) -> CollectionIndex:
        path = self.local_dir(name)
        index = versions.start_build(path, card)
        return _make_index(path, {**read_metadata(index), "index": str(index.relative_to(path))})

    def switch(self, name: str, index: CollectionIndex) -> None:
        versions.switch(self.local_dir(name), index.folder)

    def rollback(self, name: str) -> ModelCard:
        return versions.rollback(self.local_dir(name))

    def delete_inactive(self, name: str) -> list[ModelCard]:
        return versions.delete_inactive(self.local_dir(name))

    def collect_garbage(self, name: str) -> None:
        versions.collect_garbage(self.local_dir(name))

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        path = self.local_dir(name)
        folder = index.folder if (index.folder / METADATA_FILE).exists() else path
        write_metadata(folder, {**read_metadata(folder), "ingested": current_time()})

    def delete(self, name: str) -> None:
        path = self.local_dir(name)
        (path / METADATA_FILE).rename(
            path / f"{METADATA_FILE}.deleted"
        )  # from now on it is not a collection
        shutil.rmtree(path, ignore_errors=True)

    def open(self, index: CollectionIndex) -> Store:
        store = open_store(index.folder.parent, index.folder.name)
        store.ensure(make_schema(index.card.dim))
        return store


def _make_index(path: Path, meta: Meta) -> CollectionIndex:
    key = os.fspath(meta.get("index", ""))
    return CollectionIndex(
        key, parse_card(meta), meta["created"], meta.get("ingested"), active_index_dir(path, meta)
    )
