"""collection.json: the model of a collection, and which of its indexes is active.

An index consists of the shard, the catalog, and the list of skipped files. The first index of a
collection is in the collection's own folder, later ones in `indexes/NAME` below it. The file is
replaced atomically, so a reader always sees one index and its model.
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
    """Read the metadata of the collection in `path`; raises `CollectionError`."""
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
            f"{path} and ingest again; your images are not touched"
        ) from error
    if version > FORMAT:
        raise CollectionError(
            f"collection {path.name!r} has format {version}, and this program reads up to "
            f"{FORMAT}: update it (pip install --upgrade polylens)"
        )
    return dict(meta)


def write_metadata(path: Path, meta: Meta) -> None:
    """Replace the file atomically and durably; format 2 keeps out programs that know one index."""
    content = {**meta, "format": 2 if meta.get("index") else 1}
    temporary = path / f"{METADATA_FILE}.{os.getpid()}"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path / METADATA_FILE)


def parse_card(meta: Meta) -> ModelCard:
    """Parse the card of the model that made the index."""
    known = {f.name for f in fields(ModelCard)}
    card = ModelCard(**{k: v for k, v in meta["card"].items() if k in known})
    return replace(
        card,
        modalities=tuple(card.modalities),
        languages=tuple(card.languages),
        matryoshka=tuple(card.matryoshka),
    )


def active_index_dir(path: Path, meta: Meta) -> Path:
    """The folder of the active index."""
    return path / str(meta.get("index", ""))


def current_time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _damaged_message(path: Path) -> str:
    others = ", ".join(sorted(p.parent.name for p in path.parent.glob(f"*/{METADATA_FILE}")))
    return f", or name one of these with --collection: {others}" if others else ""
