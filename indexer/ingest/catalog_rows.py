"""What the catalogue keeps: files as they were when they were read, and what is in them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from indexer.captions.resolver import FileCaptions
from indexer.types import Caption

NOT_READ_HERE = -1
"""The size of a file that was not read here: the store's point names it."""


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """One path as it was when it was last read. `stamp` tells its captions' sources."""

    path: str
    size: int
    mtime_ns: int
    stamp: str
    content_id: str
    captions: FileCaptions


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A path that is new, or not as it was."""

    path: str
    size: int
    mtime_ns: int
    kind: str


@dataclass(frozen=True, slots=True)
class CatalogContent:
    """What a content is: `facts` is the part of the payload that its bytes alone decide."""

    id: str
    num_chunks: int  # of a document; 0 for a picture
    base_payloads: list[dict[str, Any]]  # one for each point


def is_missing(path: str) -> bool:
    """Whether nothing is at `path`; a folder that cannot be read does not count as gone."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def file_from_row(row: tuple[Any, ...]) -> CatalogFile:
    """From the catalogue's row."""
    path, size, mtime_ns, stamp, content, written = row
    told = json.loads(written)
    captions = tuple(Caption(**caption) for caption in told["captions"])
    described = FileCaptions(captions, tuple(told["tags"]), told["meta"], stamp)
    return CatalogFile(os.fsdecode(path), size, mtime_ns, stamp, content, described)


def captions_to_json(described: FileCaptions) -> dict[str, Any]:
    """As JSON."""
    captions = [
        {"text": c.text, "language": c.language, "source": c.source} for c in described.captions
    ]
    return {"captions": captions, "tags": list(described.tags), "meta": described.meta}
