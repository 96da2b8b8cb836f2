"""The indexes of a local collection: the active one, the previous one, and one being built.

Only `collection.json` says which is which, and it is replaced atomically, so a crash cannot leave a
half-made switch. Names are never reused: a program that still has an old index open must not find
another one under its path. Callers hold the write lock of the collection (`lock_for_writing`).
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from embedder.types import ModelCard
from indexer.collections.metadata_file import (
    METADATA_FILE,
    Meta,
    active_index_dir,
    current_time,
    parse_card,
    read_metadata,
    write_metadata,
)
from indexer.errors import CollectionError
from indexer.stores.edge.state import ShardState, write_state

INDEXES = "indexes"
INDEX_KEYS = ("created", "ingested", "card", "index")  # what belongs to one index


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """An index that is being built."""

    index: Path
    card: ModelCard


def start_build(path: Path, card: ModelCard) -> Path:
    """Create the folder of a new index, with a collection.json of its own; returns it."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    index = path / INDEXES / name
    index.mkdir(parents=True)
    write_metadata(index, {"created": current_time(), "card": asdict(card)})
    return index


def get_build(path: Path) -> IndexBuild | None:
    """The index that is being built, if any; it may be the first one of the collection."""
    in_use = (
        _list_used_dirs(path, read_metadata(path)) if (path / METADATA_FILE).exists() else set()
    )
    for file in sorted((path / INDEXES).glob(f"*/{METADATA_FILE}")):
        if file.parent not in in_use:
            try:
                return IndexBuild(file.parent, parse_card(read_metadata(file.parent)))
            except CollectionError:  # damaged: `delete_inactive` removes it
                continue
    return None


def switch(path: Path, index: Path) -> None:
    """Activate `index`; the active one is kept as the old one, the previous old one is deleted."""
    old = (
        {"old": _select_index_keys(read_metadata(path))} if (path / METADATA_FILE).exists() else {}
    )
    write_metadata(
        path,
        {**_select_index_keys(read_metadata(index)), "index": str(index.relative_to(path)), **old},
    )
    collect_garbage(path)


def rollback(path: Path) -> ModelCard:
    """Activate the old index and keep the other; returns the card of the active one."""
    meta = read_metadata(path)
    if "old" not in meta:
        raise CollectionError(
            f"collection {path.name!r} has no old index: it has not been re-indexed, or "
            "indexer reindex --forget has deleted it"
        )
    write_metadata(path, {**_select_index_keys(meta["old"]), "old": _select_index_keys(meta)})
    return parse_card(meta["old"])


def delete_inactive(path: Path) -> list[ModelCard]:
    """Delete the inactive indexes; returns their cards.

    The collection itself need not exist yet: its first index may be incomplete.
    """
    meta, build = _read_existing(path), get_build(path)
    cards = [parse_card(meta["old"])] if "old" in meta else []
    for folder in set((path / INDEXES).glob("*")) - _list_used_dirs(path, meta):
        (folder / METADATA_FILE).unlink(missing_ok=True)
    if meta:
        write_metadata(path, {key: value for key, value in meta.items() if key != "old"})
    collect_garbage(path)
    return [*cards, build.card] if build else cards


def collect_garbage(path: Path) -> None:
    """Delete folders that belong to no index, for example after a crash.

    Only an index that is being built has a collection.json of its own.
    """
    in_use = _list_used_dirs(path, _read_existing(path))
    for folder in (path / INDEXES).glob("*"):
        if folder in in_use:
            (folder / METADATA_FILE).unlink(missing_ok=True)
        elif not (folder / METADATA_FILE).exists():
            shutil.rmtree(folder, ignore_errors=True)
    if path not in in_use and (path / "shard").exists():
        _delete_metadata_first(path)


def _delete_metadata_first(path: Path) -> None:
    """Delete the index in the collection's own folder.

    The point count stays, so that a program with this index open does not create a new shard.
    """
    write_state(path, ShardState(1, is_clean=True))
    for folder in (path, *path.glob("tenants/*")):
        for file in (*folder.glob("catalogue.db*"), folder / "errors.jsonl"):
            file.unlink(missing_ok=True)
    shutil.rmtree(path / "shard", ignore_errors=True)


def _read_existing(path: Path) -> Meta:
    """The metadata of the collection; empty if it does not exist yet."""
    return read_metadata(path) if (path / METADATA_FILE).exists() else {}


def _select_index_keys(meta: Meta) -> Meta:
    return {key: meta[key] for key in INDEX_KEYS if key in meta}


def _list_used_dirs(path: Path, meta: Meta) -> set[Path]:
    """The folders of the active and the old index."""
    return {active_index_dir(path, one) for one in (meta, meta.get("old")) if one is not None}
