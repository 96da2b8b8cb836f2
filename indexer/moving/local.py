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
from indexer.collection import own
from indexer.ingest.thumbnails import thumbnail_path
from indexer.stores.tenant import TENANT
from indexer.types import Record

CATALOGUE = "catalogue.db"
THUMBS = "thumbs"


@dataclass(frozen=True, slots=True)
class Kept:
    """The folders of one collection: `path` has votes and thumbnails, `index` the catalogue."""

    path: Path
    index: Path

    def owners(self) -> Iterator[Kept]:
        """Itself, and the same of each tenant."""
        yield self
        for folder in sorted((self.path / "tenants").glob("*")):
            yield Kept(own(self.path, folder.name), own(self.index, folder.name))


def take_catalogues(source: Kept, there: Kept) -> int:
    """Copy the catalogue of each owner; how many there were."""
    return sum(
        take_catalogue(one.index / CATALOGUE, _same(one, source, there).index / CATALOGUE)
        for one in source.owners()
    )


def take_votes(source: Kept, there: Kept) -> int:
    """Add the votes of each owner that are not there; how many there were."""
    return sum(_take_votes(one.path, _same(one, source, there).path) for one in source.owners())


def take_thumbnails(source: Path, there: Path, records: Iterable[Record]) -> None:
    """Link or copy the thumbnails that there are of `records`; `source` and `there` have "thumbs".

    Those of points that belong to a tenant are left behind, where all are moved at once.
    """
    if not (source / THUMBS).is_dir():
        return
    for record in records:
        if record.payload.get("kind") == "image" and TENANT not in record.payload:
            one, other = (thumbnail_path(kept / THUMBS, record.id) for kept in (source, there))
            _take(one, other)


def take_catalogue(file: Path, there: Path) -> bool:
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


def _same(one: Kept, source: Kept, there: Kept) -> Kept:
    """The folders in `there` that are what `one` is in `source`."""
    return Kept(
        there.path / one.path.relative_to(source.path),
        there.index / one.index.relative_to(source.index),
    )


def _take_votes(source: Path, there: Path) -> int:
    known, taken = {_key(vote) for vote in feedback.read_votes(there)}, 0
    for vote in feedback.read_votes(source):
        if _key(vote) not in known and _has_its_pictures(vote, source / feedback.IMAGES_FOLDER):
            there.mkdir(parents=True, exist_ok=True)
            feedback.record_vote(there, vote)
            taken += 1
    return taken


def _key(vote: feedback.Vote) -> tuple[object, ...]:
    """What tells votes apart, wherever their collection lies."""
    parts = (
        replace(part, image=Path(part.image).name if part.image else None)
        for part in vote.query.parts
    )
    return frozenset(parts), vote.id


def _has_its_pictures(vote: feedback.Vote, folder: Path) -> bool:
    """Whether the pictures that were searched with are the collection's copies: where a snapshot
    says that they lie is no reason to read other files."""
    images = [Path(part.image) for part in vote.query.parts if part.image]
    return all(image.parent == folder and image.is_file() for image in images)


def _take(file: Path, there: Path) -> None:
    try:
        os.link(file, there)
    except FileExistsError:
        return
    except FileNotFoundError:  # there is no such thumbnail, or no such folder yet
        if file.exists() and not there.parent.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            _take(file, there)
    except OSError:  # another disk, or one that has no links
        fresh = there.with_name(f".{there.name}.{os.getpid()}")
        shutil.copyfile(file, fresh)
        fresh.replace(there)
