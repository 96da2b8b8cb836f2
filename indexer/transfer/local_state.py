"""Copies the local state of a collection: catalog, thumbnails and votes.

With the catalog, the next ingest finds every file unchanged. Everything except the votes can be
rebuilt, so what cannot be read is left behind.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from embedder.files import make_private_dir, open_private
from indexer import feedback
from indexer.collections.collection import tenant_dir
from indexer.ingest.catalog import CATALOG_FILE, Catalog, connect
from indexer.ingest.thumbnails import is_thumbnail, thumbnail_path, write_thumbnail
from indexer.stores.base import TENANT_KEY
from indexer.types import Record

SCHEMA_QUERY = "SELECT type, name, tbl_name, sql FROM main.sqlite_master ORDER BY name"


@dataclass(frozen=True, slots=True)
class LocalState:
    """The folders of one collection: `path` has votes and thumbnails, `index` the catalog."""

    path: Path
    index: Path

    @property
    def catalog(self) -> Path:
        return self.index / CATALOG_FILE

    def list_tenants(self) -> list[str | None]:
        """None for the collection itself, then its tenants."""
        return [None, *sorted(folder.name for folder in (self.path / "tenants").glob("*"))]

    def for_tenant(self, tenant: str | None) -> LocalState:
        return LocalState(tenant_dir(self.path, tenant), tenant_dir(self.index, tenant))

    def locate_thumbnail(self, record: Record) -> Path | None:
        """None for what has no thumbnail; those of tenants stay where they are."""
        if record.payload.get("kind") != "image" or TENANT_KEY in record.payload:
            return None
        return thumbnail_path(self.path / "thumbs", record.id)


def copy_catalogs(source: LocalState, target: LocalState) -> int:
    """Copy the catalogs of the collection and of its tenants; return how many there were."""
    return sum(
        copy_catalog(source.for_tenant(tenant).catalog, target.for_tenant(tenant).catalog)
        for tenant in source.list_tenants()
    )


def copy_catalog(file: Path, target: Path) -> bool:
    """Copy an SQLite file that may be in use; return whether it could be read."""
    if not file.exists():
        return False
    make_private_dir(target.parent)
    open_private(target, "ab").close()
    try:
        with closing(connect(file)) as one, closing(sqlite3.connect(target)) as two:
            two.execute("PRAGMA journal_mode = MEMORY")  # leaves no file if this is killed
            one.backup(two)
    except sqlite3.Error:
        target.unlink(missing_ok=True)
        return False
    return True


def is_valid_catalog(file: Path) -> bool:
    """Whether an SQLite file from elsewhere is sound and has the schema of a catalog, and no more.

    A database can bring its own triggers and views, which run when it is used:
    https://sqlite.org/security.html
    """
    empty = file.with_name("expected.db")
    try:
        Catalog(empty).close()
        with closing(sqlite3.connect(empty)) as db:
            expected = set(db.execute(SCHEMA_QUERY).fetchall())
        with closing(sqlite3.connect(file)) as db:
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA cell_size_check = ON")
            is_sound = db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            found = set(db.execute(SCHEMA_QUERY).fetchall())  # an older one has fewer tables
            return is_sound and bool(found) and found <= expected
    except sqlite3.Error:
        return False
    finally:
        for path in empty.parent.glob(f"{empty.name}*"):
            path.unlink()


def copy_votes(source: LocalState, target: LocalState) -> int:
    """Add the votes that `target` lacks; return how many were added."""
    added = 0
    for tenant in source.list_tenants():
        folder, new = source.for_tenant(tenant).path, target.for_tenant(tenant).path
        existing = {_make_vote_key(vote) for vote in feedback.read_votes(new)}
        for vote in feedback.read_votes(folder):
            if _make_vote_key(vote) not in existing and _has_own_images(vote, folder):
                make_private_dir(new)
                feedback.record_votes(new, vote)
                added += 1
    return added


def _make_vote_key(vote: feedback.Vote) -> tuple[object, ...]:
    """The same vote has the same key wherever its collection is."""
    parts = (replace(p, image=Path(p.image).name if p.image else None) for p in vote.query.parts)
    return frozenset(parts), vote.id


def _has_own_images(vote: feedback.Vote, folder: Path) -> bool:
    """Whether the query images are the collection's own copies: a snapshot must not make us read
    other files."""
    images = [Path(part.image) for part in vote.query.parts if part.image]
    return all(i.parent == folder / feedback.IMAGES_FOLDER and i.is_file() for i in images)


def copy_thumbnails(source: LocalState, target: LocalState, records: Iterable[Record]) -> None:
    """Link or copy the existing thumbnails of `records`."""
    for record in records:
        file, new = source.locate_thumbnail(record), target.locate_thumbnail(record)
        if file is None or new is None or is_thumbnail(new) or not is_thumbnail(file):
            continue
        make_private_dir(new.parent)
        try:
            os.link(file, new)
        except OSError:  # another disk, or one without links
            write_thumbnail(target.path / "thumbs", record.id, file.read_bytes())
