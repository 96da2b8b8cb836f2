"""Collections in a folder: each is a subfolder with a collection.json.

An index consists of the shard, the catalog, and the list of skipped files. The first index of a
collection is in the collection's own folder, later ones in `indexes/NAME` below it. Only
`collection.json` says which one is active, and it is replaced atomically: a reader always sees one
index and its model, and a crash cannot leave a half-made switch. An index that is being built has a
collection.json of its own. Whoever changes indexes holds the write lock (`lock_for_writing`).
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from embedder.files import PRIVATE, make_private_dir, sync_folder, write_file
from embedder.types import ModelCard
from indexer.collections.backend import (
    CollectionIndex,
    CollectionIndexes,
    Meta,
    current_time,
    make_index_name,
    missing_error,
    no_old_index_error,
    parse_card,
)
from indexer.collections.schema import FORMAT, LATEST_TEXTS, TextIndexing
from indexer.config import Config
from indexer.errors import CollectionError, DamagedError
from indexer.stores.base import Layout, Store
from indexer.stores.edge.state import ShardState, count_points, write_state

METADATA_FILE = "collection.json"
COPY_FILE = "collection.copy.json"  # the same, for a repair
INDEXES = "indexes"
DELETE_ATTEMPTS = 20
INDEX_PATTERN = re.compile(rf"{INDEXES}[/\\][^/\\.][^/\\]*")
INDEX_KEYS = ("created", "ingested", "card", "index", "names", "text_version")
"""What belongs to one index."""


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

    def find(self, name: str, *, repair: bool = False) -> CollectionIndex | None:
        return self.get_indexes(name).in_use if self.exists(name) else None

    def local_dir(self, name: str) -> Path:
        return self.root / name

    def get_indexes(self, name: str) -> CollectionIndexes:
        path = self.local_dir(name)
        meta = _read_existing(path)
        if not meta and (self.root / METADATA_FILE).exists():  # a common mistake
            raise CollectionError(
                f"{self.root} is the folder of one collection; name the store that contains it: "
                f"{self.root.parent} --collection {self.root.name}"
            )
        if not meta:
            _check_not_lost(path)
            raise missing_error(name, f"in {self.root}", self.list_names())
        old = _make_index(path, meta["old"]) if "old" in meta else None
        return CollectionIndexes(_make_index(path, meta), old, self.get_build(name))

    def get_build(self, name: str) -> CollectionIndex | None:
        path = self.local_dir(name)
        for folder in sorted(_list_index_dirs(path) - _list_used_dirs(path)):
            if (folder / METADATA_FILE).exists():
                try:
                    return _read_build(path, folder)
                except CollectionError:  # damaged: `delete_inactive` removes it
                    continue
        return None

    def count_points(self, index: CollectionIndex) -> int | None:
        return count_points(index.folder)

    def get_layout(self, index: CollectionIndex) -> Layout:
        return Layout()

    def set_write_consistency(self, index: CollectionIndex, copies: int) -> None:
        """Does nothing: a folder has one copy."""

    def find_lost_nodes(self) -> str:
        return ""

    def create(
        self, name: str, card: ModelCard, layout: Layout, texts: TextIndexing = LATEST_TEXTS
    ) -> CollectionIndex:
        path = self.local_dir(name)
        if self.exists(name):
            return self.get_indexes(name).in_use
        _check_not_lost(path)
        make_private_dir(path)
        write_metadata(path, _make_metadata(card, texts))
        sync_folder(self.root)
        return self.get_indexes(name).in_use

    def start_build(
        self, name: str, card: ModelCard, layout: Layout, texts: TextIndexing = LATEST_TEXTS
    ) -> CollectionIndex:
        path = self.local_dir(name)
        if not self.exists(name):
            _check_not_lost(path)
        folder = path / INDEXES / make_index_name()
        make_private_dir(folder)
        write_metadata(folder, _make_metadata(card, texts))
        sync_folder(folder.parent)
        return _read_build(path, folder)

    def switch(self, name: str, index: CollectionIndex) -> None:
        path = self.local_dir(name)
        meta, new = _read_existing(path), {**read_metadata(index.folder), "index": index.key}
        old = {"old": _select_index_keys(meta)} if meta else {}
        write_metadata(path, {**_select_index_keys(new), **old})
        self.collect_garbage(name)

    def rollback(self, name: str) -> ModelCard:
        path, old = self.local_dir(name), self.get_indexes(name).old
        if old is None:
            raise no_old_index_error(name)
        meta = read_metadata(path)
        write_metadata(path, {**_select_index_keys(meta["old"]), "old": _select_index_keys(meta)})
        return old.card

    def delete_inactive(self, name: str) -> list[ModelCard]:
        """The collection need not exist yet: its first index may be incomplete."""
        path = self.local_dir(name)
        meta, build = _read_existing(path), self.get_build(name)
        cards = [parse_card(meta["old"])] if "old" in meta else []
        for folder in _list_index_dirs(path) - _list_used_dirs(path):
            (folder / METADATA_FILE).unlink(missing_ok=True)
        if meta:
            write_metadata(path, {key: value for key, value in meta.items() if key != "old"})
        self.collect_garbage(name)
        return [*cards, build.card] if build else cards

    def collect_garbage(self, name: str) -> None:
        path = self.local_dir(name)
        in_use = _list_used_dirs(path)
        for folder in _list_index_dirs(path):
            if folder in in_use:
                (folder / METADATA_FILE).unlink(missing_ok=True)
            elif not (folder / METADATA_FILE).exists():
                shutil.rmtree(folder, ignore_errors=True)
        if path not in in_use and (path / "shard").exists():
            _delete_first_index(path)

    def set_texts(self, name: str, index: CollectionIndex, texts: TextIndexing) -> None:
        self._update_metadata(name, index, texts.to_meta())

    def mark_ingested(self, name: str, index: CollectionIndex) -> None:
        self._update_metadata(name, index, {"ingested": current_time()})

    def _update_metadata(self, name: str, index: CollectionIndex, change: Meta) -> None:
        is_build = (index.folder / METADATA_FILE).exists()
        folder = index.folder if is_build else self.local_dir(name)
        write_metadata(folder, {**read_metadata(folder), **change})

    def delete(self, name: str) -> None:
        path = self.local_dir(name)
        (path / COPY_FILE).unlink(missing_ok=True)
        # from now on it is not a collection
        (path / METADATA_FILE).rename(path / f"{METADATA_FILE}.deleted")
        sync_folder(path)
        for _ in range(DELETE_ATTEMPTS):  # a server process that is closing writes files meanwhile
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                return
            time.sleep(0.1)

    def open(self, index: CollectionIndex, *, for_ingest: bool = False) -> Store:
        from indexer.stores.edge.store import EdgeStore

        store = EdgeStore(index.folder)
        store.ensure(index.schema, accept_older=for_ingest)
        return store


def read_metadata(path: Path) -> Meta:
    """Read the metadata of the collection or index in `path`; raises `DamagedError`, and
    `CollectionError` for a newer format."""
    return _read_metadata_file(path / METADATA_FILE)


def restore_metadata(path: Path) -> None:
    """Write the collection's metadata again, from the copy; raises `DamagedError` if that is
    damaged too."""
    write_metadata(path, _read_metadata_file(path / COPY_FILE))


def _read_metadata_file(file: Path) -> Meta:
    try:
        meta = json.loads(file.read_text("utf-8"))
        version = int(meta["format"])
        for index in (meta, meta.get("old", meta)):
            _make_index(file.parent, index)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if (file.parent / COPY_FILE).exists() and file.name != COPY_FILE:
            remedy = "type: indexer doctor --repair"
        else:
            remedy = f"restore it from a backup, or move {file.parent} away and ingest again"
        raise DamagedError(
            f"{file} is damaged ({error}): {remedy}; your images are not touched"
        ) from error
    if version > FORMAT:
        raise CollectionError(
            f"collection {file.parent.name!r} has format {version}, and this program reads up to "
            f"{FORMAT}: update Polylens"
        )
    return dict(meta)


def write_metadata(path: Path, meta: Meta) -> None:
    """Replace the file atomically and durably; its format keeps out programs that know one index,
    or only the first version of what is searched by words."""
    texts = [TextIndexing.from_meta(index) for index in (meta, meta.get("old", {}))]
    older = 2 if meta.get("index") else 1
    content = {**meta, "format": older if all(one.is_first for one in texts) else FORMAT}
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_file(path / METADATA_FILE, text, mode=PRIVATE)
    if path.parent.name != INDEXES:
        write_file(path / COPY_FILE, text, mode=PRIVATE)


def _check_not_lost(path: Path) -> None:
    """Raise `DamagedError` if the folder without metadata is that of a collection."""
    has_copy = (path / COPY_FILE).exists()
    if has_copy or (path / "shard").exists():
        remedy = (
            "type: indexer doctor --repair"
            if has_copy
            else f"restore that file from a backup, or move {path} away and ingest again"
        )
        raise DamagedError(f"{path} holds points but no {METADATA_FILE}: {remedy}")


def _read_existing(path: Path) -> Meta:
    """The metadata of the collection; empty if it does not exist yet."""
    return read_metadata(path) if (path / METADATA_FILE).exists() else {}


def _read_build(path: Path, folder: Path) -> CollectionIndex:
    return _make_index(path, {**read_metadata(folder), "index": str(folder.relative_to(path))})


def _make_index(path: Path, meta: Meta) -> CollectionIndex:
    key = str(meta.get("index", ""))
    is_link = (path / INDEXES).is_symlink() or (path / key).is_symlink()
    if key and (is_link or not INDEX_PATTERN.fullmatch(key)):
        raise ValueError(f"its index {key!r} is not a folder in {INDEXES}")
    return CollectionIndex(
        key,
        parse_card(meta),
        meta["created"],
        meta.get("ingested"),
        path / key,
        texts=TextIndexing.from_meta(meta),
    )


def _make_metadata(card: ModelCard, texts: TextIndexing) -> Meta:
    return {"created": current_time(), "card": asdict(card), **texts.to_meta()}


def _select_index_keys(meta: Meta) -> Meta:
    return {key: meta[key] for key in INDEX_KEYS if key in meta}


def _list_used_dirs(path: Path) -> set[Path]:
    """The folders of the active and the old index; never less than the collection's own folder
    if the collection does not exist, since points without a collection.json are not garbage."""
    meta = _read_existing(path)
    return {path / one.get("index", "") for one in (meta, meta.get("old")) if one is not None}


def _list_index_dirs(path: Path) -> set[Path]:
    """The folders of indexes; not what links lead to, which is not the collection's to delete."""
    if (path / INDEXES).is_symlink():
        return set()
    return {folder for folder in (path / INDEXES).glob("*") if not folder.is_symlink()}


def _delete_first_index(path: Path) -> None:
    """Delete the index in the collection's own folder.

    The point count stays, so that a program with this index open does not create a new shard.
    """
    write_state(path, ShardState(1, is_clean=True))
    tenants = [] if (path / "tenants").is_symlink() else path.glob("tenants/*")
    for folder in (path, *(tenant for tenant in tenants if not tenant.is_symlink())):
        for file in (*folder.glob("catalogue.db*"), folder / "errors.jsonl"):
            file.unlink(missing_ok=True)
    shutil.rmtree(path / "shard", ignore_errors=True)
