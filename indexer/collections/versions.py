"""The indexes of a collection: the one in use, the one before it, and one that is being built.

Only `collection.json` says which is which, and it is replaced in one step: a crash leaves the
collection before a switch or after it. A name is never given twice, so that a program that still
has an old index open cannot come upon another under its path. Who changes anything here holds the
collection for writing (`lock_for_writing`).
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
    """An index that has been begun and is not in use yet."""

    index: Path
    card: ModelCard


def start_build(path: Path, card: ModelCard) -> Path:
    """The folder of a new index, empty but for its own collection.json."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    index = path / INDEXES / name
    index.mkdir(parents=True)
    write_metadata(index, {"created": current_time(), "card": asdict(card)})
    return index


def get_build(path: Path) -> IndexBuild | None:
    """The index that has been begun, if there is one; perhaps the collection's first."""
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
    """Put `index` in use; the one in use so far is kept, and the one before that is deleted."""
    old = (
        {"old": _select_index_keys(read_metadata(path))} if (path / METADATA_FILE).exists() else {}
    )
    write_metadata(
        path,
        {**_select_index_keys(read_metadata(index)), "index": str(index.relative_to(path)), **old},
    )
    collect_garbage(path)


def rollback(path: Path) -> ModelCard:
    """Put the old index in use again, and keep the other; the card of what is in use now."""
    meta = read_metadata(path)
    if "old" not in meta:
        raise CollectionError(
            f"collection {path.name!r} has no old index: it has not been re-indexed, or "
            "indexer reindex --forget has deleted it"
        )
    write_metadata(path, {**_select_index_keys(meta["old"]), "old": _select_index_keys(meta)})
    return parse_card(meta["old"])


def delete_inactive(path: Path) -> list[ModelCard]:
    """Delete the indexes that are not in use; the cards of those there were.

    The collection itself need not be there yet: its first index may be half built.
    """
    meta, begun = _read_existing(path), get_build(path)
    cards = [parse_card(meta["old"])] if "old" in meta else []
    for folder in set((path / INDEXES).glob("*")) - _list_used_dirs(path, meta):
        (folder / METADATA_FILE).unlink(missing_ok=True)
    if meta:
        write_metadata(path, {key: value for key, value in meta.items() if key != "old"})
    collect_garbage(path)
    return [*cards, begun.card] if begun else cards


def collect_garbage(path: Path) -> None:
    """Delete what belongs to no index, as a crash may leave it.

    An index has a collection.json of its own while it is being built, and no longer.
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
    """Delete the index that lies in the collection's own folder.

    Its count is left behind: it keeps a program that has this index open from beginning a new one.
    """
    write_state(path, ShardState(1, is_clean=True))
    for folder in (path, *path.glob("tenants/*")):
        for file in (*folder.glob("catalogue.db*"), folder / "errors.jsonl"):
            file.unlink(missing_ok=True)
    shutil.rmtree(path / "shard", ignore_errors=True)


def _read_existing(path: Path) -> Meta:
    """What the collection says of itself; nothing where it is not there yet."""
    return read_metadata(path) if (path / METADATA_FILE).exists() else {}


def _select_index_keys(meta: Meta) -> Meta:
    return {key: meta[key] for key in INDEX_KEYS if key in meta}


def _list_used_dirs(path: Path, meta: Meta) -> set[Path]:
    """The folders of the index in use and of the old one."""
    return {active_index_dir(path, one) for one in (meta, meta.get("old")) if one is not None}
