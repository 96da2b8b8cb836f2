"""collection.json: with which model a collection was made, and which of its indexes is in use.

An index is what one model made of the files: the shard, the catalogue, the list of skipped files. A
collection's first one lies in the collection's own folder, a later one in `indexes/NAME` within it.
The file is replaced in one step, so whoever opens the collection finds one index and its model.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from embedder.types import ModelCard
from indexer.collections.schema import FORMAT
from indexer.errors import CollectionError

METADATA_FILE = "collection.json"
Meta: TypeAlias = "dict[str, Any]"
"""format, created, card; ingested; index (a path within the folder); old (the same of another)."""


def read_metadata(path: Path) -> Meta:
    """What the collection in `path` says of itself; raises `CollectionError`."""
    try:
        meta = json.loads((path / METADATA_FILE).read_text("utf-8"))
        version = int(meta["format"])
        parse_card(meta)
    except FileNotFoundError:
        raise CollectionError(
            f"there is no collection {path.name!r} in {path.parent}; "
            "type: indexer ingest FOLDER" + _damaged_message(path)
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollectionError(
            f"{path / METADATA_FILE} is damaged ({error}): restore it from a backup, or delete "
            f"{path} and ingest again; your pictures are not touched"
        ) from error
    if version > FORMAT:
        raise CollectionError(
            f"collection {path.name!r} has format {version}, and this program reads up to "
            f"{FORMAT}: update it (pip install --upgrade polylens)"
        )
    return dict(meta)


def write_metadata(path: Path, meta: Meta) -> None:
    """Replace it, whole and on the disk; a program that knows one index alone must not read it."""
    told = {**meta, "format": 2 if meta.get("index") else 1}
    fresh = path / f"{METADATA_FILE}.{os.getpid()}"
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(told, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path / METADATA_FILE)


def parse_card(meta: Meta) -> ModelCard:
    """The card of the model that the index was made with."""
    known = {f.name for f in fields(ModelCard)}
    card = ModelCard(**{k: v for k, v in meta["card"].items() if k in known})
    return replace(
        card,
        modalities=tuple(card.modalities),
        languages=tuple(card.languages),
        matryoshka=tuple(card.matryoshka),
    )


def active_index_dir(path: Path, meta: Meta) -> Path:
    """The folder of the index that is in use."""
    return path / str(meta.get("index", ""))


def current_time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _damaged_message(path: Path) -> str:
    others = ", ".join(sorted(p.parent.name for p in path.parent.glob(f"*/{METADATA_FILE}")))
    return f", or name one of these with --collection: {others}" if others else ""
