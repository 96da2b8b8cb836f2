"""What is kept of a collection on this machine goes along: catalogue, thumbnails and votes.

With the catalogue, the next ingest finds every file unchanged. All of it can be made anew but for
the votes, so what cannot be read is left behind.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from indexer import feedback
from indexer.collections.collection import tenant_dir
from indexer.ingest.thumbnails import thumbnail_path
from indexer.stores.tenant import TENANT_KEY
from indexer.types import Record

CATALOG_FILE = "catalogue.db"
THUMBNAIL_DIR = "thumbs"


@dataclass(frozen=True, slots=True)
class LocalState:
    """The folders of one collection: `path` has votes and thumbnails, `index` the catalogue."""

    path: Path
    index: Path

    def iter_tenants(self) -> Iterator[LocalState]:
        """Itself, and the same of each tenant."""
        yield self
        for folder in sorted((self.path / "tenants").glob("*")):
            yield LocalState(
                tenant_dir(self.path, folder.name), tenant_dir(self.index, folder.name)
            )


def copy_catalogs(source: LocalState, there: LocalState) -> int:
    """Copy the catalogue of each owner; how many there were."""
    return sum(
        copy_catalog(
            one.index / CATALOG_FILE, _matching_state(one, source, there).index / CATALOG_FILE
        )
        for one in source.iter_tenants()
    )


def copy_votes(source: LocalState, there: LocalState) -> int:
    """Add the votes of each owner that are not there; how many there were."""
    return sum(
        _copy_tenant_votes(one.path, _matching_state(one, source, there).path)
        for one in source.iter_tenants()
    )


def copy_thumbnails(source: Path, there: Path, records: Iterable[Record]) -> None:
    """Link or copy the thumbnails that there are of `records`; `source` and `there` have "thumbs".

    Those of points that belong to a tenant are left behind, where all are moved at once.
    """
    if not (source / THUMBNAIL_DIR).is_dir():
        return
    for record in records:
        if record.payload.get("kind") == "image" and TENANT_KEY not in record.payload:
            one, other = (
                thumbnail_path(kept / THUMBNAIL_DIR, record.id) for kept in (source, there)
            )
            _copy_file(one, other)


def copy_catalog(file: Path, there: Path) -> bool:
    """Copy an SQLite file that may be in use, whole; whether it could be read."""
    if not file.exists():
        return False
    there.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(file)) as one, closing(sqlite3.connect(there)) as other:
            one.backup(other)
    except sqlite3.Error:
        there.unlink(missing_ok=True)
        return False
    return True


def _matching_state(one: LocalState, source: LocalState, there: LocalState) -> LocalState:
    """The folders in `there` that are what `one` is in `source`."""
    return LocalState(
        there.path / one.path.relative_to(source.path),
        there.index / one.index.relative_to(source.index),
    )


def _copy_tenant_votes(source: Path, there: Path) -> int:
    known, taken = {_vote_key(vote) for vote in feedback.read_votes(there)}, 0
    for vote in feedback.read_votes(source):
        if _vote_key(vote) not in known and _has_query_images(
            vote, source / feedback.IMAGES_FOLDER
        ):
            there.mkdir(parents=True, exist_ok=True)
            feedback.record_vote(there, vote)
            taken += 1
    return taken


def _vote_key(vote: feedback.Vote) -> tuple[object, ...]:
    """What tells votes apart, wherever their collection lies."""
    parts = (
        replace(part, image=Path(part.image).name if part.image else None)
        for part in vote.query.parts
    )
    return frozenset(parts), vote.id


def _has_query_images(vote: feedback.Vote, folder: Path) -> bool:
    """Whether the pictures that were searched with are the collection's copies: where a snapshot
    says that they lie is no reason to read other files."""
    images = [Path(part.image) for part in vote.query.parts if part.image]
    return all(image.parent == folder and image.is_file() for image in images)


def _copy_file(file: Path, there: Path) -> None:
    try:
        os.link(file, there)
    except FileExistsError:
        return
    except FileNotFoundError:  # there is no such thumbnail, or no such folder yet
        if file.exists() and not there.parent.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(file, there)
    except OSError:  # another disk, or one that has no links
        fresh = there.with_name(f".{there.name}.{os.getpid()}")
        shutil.copyfile(file, fresh)
        fresh.replace(there)
