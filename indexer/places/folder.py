"""Collections in a folder: each a folder of its own, told by its collection.json."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from embedder.types import ModelCard
from indexer import generations
from indexer.errors import CollectionError
from indexer.meta import META, Meta, card_in, index_in, now, read_meta, write_meta
from indexer.places.protocol import Index, Indexes
from indexer.schema import schema
from indexer.stores import counts, open_store
from indexer.stores.connection import Layout
from indexer.stores.protocol import Store


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """The collections in the folder `root`. A layout means nothing here."""

    root: Path

    def names(self) -> list[str]:
        return sorted(file.parent.name for file in self.root.glob(f"*/{META}"))

    def exists(self, name: str) -> bool:
        return (self.folder(name) / META).exists()

    def folder(self, name: str) -> Path:
        return self.root / name

    def indexes(self, name: str) -> Indexes:
        path = self.folder(name)
        meta = read_meta(path)
        old = _index(path, meta["old"]) if "old" in meta else None
        return Indexes(_index(path, meta), old, self.building(name))

    def building(self, name: str) -> Index | None:
        path = self.folder(name)
        begun = generations.building(path)
        if begun is None:
            return None
        return _index(path, {**read_meta(begun.index), "index": str(begun.index.relative_to(path))})

    def points(self, index: Index) -> int | None:
        return counts(index.folder)

    def layout(self, index: Index) -> Layout:
        return Layout()

    def create(self, name: str, card: ModelCard, layout: Layout) -> Index:
        path = self.folder(name)
        if (path / "shard").exists():
            raise CollectionError(
                f"{path} holds points but no {META}: restore that file from a backup, or delete "
                "the folder and ingest again"
            )
        path.mkdir(parents=True, exist_ok=True)
        write_meta(path, {"created": now(), "card": asdict(card)})
        return self.indexes(name).in_use

    def begin(self, name: str, card: ModelCard, layout: Layout) -> Index:
        path = self.folder(name)
        index = generations.begin(path, card)
        return _index(path, {**read_meta(index), "index": str(index.relative_to(path))})

    def switch(self, name: str, index: Index) -> None:
        generations.switch(self.folder(name), index.folder)

    def rollback(self, name: str) -> ModelCard:
        return generations.rollback(self.folder(name))

    def forget(self, name: str) -> list[ModelCard]:
        return generations.forget(self.folder(name))

    def sweep(self, name: str) -> None:
        generations.sweep(self.folder(name))

    def mark_ingested(self, name: str, index: Index) -> None:
        path = self.folder(name)
        place = index.folder if (index.folder / META).exists() else path
        write_meta(place, {**read_meta(place), "ingested": now()})

    def delete(self, name: str) -> None:
        path = self.folder(name)
        (path / META).rename(path / f"{META}.deleted")  # from here on it is no collection
        shutil.rmtree(path, ignore_errors=True)

    def open(self, index: Index) -> Store:
        store = open_store(index.folder.parent, index.folder.name)
        store.ensure(schema(index.card.dim))
        return store


def _index(path: Path, meta: Meta) -> Index:
    key = os.fspath(meta.get("index", ""))
    return Index(key, card_in(meta), meta["created"], meta.get("ingested"), index_in(path, meta))
