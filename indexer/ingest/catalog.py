"""What has been seen of the disk: paths, their contents, and what each content is.

A cache in SQLite beside the collection, so that an unchanged file costs one look-up. The store is
the truth: after a crash, or with the catalogue lost, contents found there are adopted, not embedded
again. Paths are kept as the bytes that the file system knows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from indexer.errors import CollectionError
from indexer.ingest.catalog_rows import (
    CatalogContent,
    CatalogFile,
    PendingFile,
    captions_to_json,
    file_from_row,
    is_missing,
)
from indexer.sources import container_of, is_local_file, is_within

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, stamp TEXT, content TEXT, described TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_content ON files (content);
CREATE TABLE IF NOT EXISTS contents (content TEXT PRIMARY KEY, passages INTEGER, facts TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS roots (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parts (name BLOB PRIMARY KEY, stamp TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE seen (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE todo (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, kind TEXT)
    WITHOUT ROWID;
CREATE TEMP TABLE changed (content TEXT PRIMARY KEY, kind TEXT) WITHOUT ROWID;
"""
UNDER_PATH = "(path = ? OR (path > ? AND path < ?) OR (path > ? AND path < ?))"


class Catalog:
    """Thread-safe; nothing is kept before `commit()`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._listed: list[str] = []
        try:
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise CollectionError(
                f"{path} is damaged ({error}); it can be made anew from the files and the store: "
                f"delete it and ingest again (nothing is embedded twice)"
            ) from error

    def is_unchanged(self, path: str, size: int, mtime_ns: int, stamp: str) -> bool:
        """Whether `path` is as it was; it counts as seen either way."""
        key = os.fsencode(path)
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,))
            row = self._db.execute(
                "SELECT size, mtime_ns, stamp FROM files WHERE path = ?", (key,)
            ).fetchone()
        return bool(row == (size, mtime_ns, stamp))

    def add_pending(self, file: PendingFile) -> None:
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO todo VALUES (?, ?, ?, ?)",
                (os.fsencode(file.path), file.size, file.mtime_ns, file.kind),
            )

    def count_pending(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM todo").fetchone()[0])

    def iter_pending(self, page: int = 1000) -> Iterator[PendingFile]:
        """What is to be done, by path; paged, so that writing may go on meanwhile."""
        after = b""
        while rows := self._fetch_page(
            "SELECT * FROM todo WHERE path > ? ORDER BY path LIMIT ?", after, page
        ):
            yield from (PendingFile(os.fsdecode(row[0]), *row[1:]) for row in rows)
            after = rows[-1][0]

    def iter_paths(self, page: int = 1000) -> Iterator[str]:
        """Every path known, in order; paged."""
        after = b""
        while rows := self._fetch_page(
            "SELECT path FROM files WHERE path > ? ORDER BY path LIMIT ?", after, page
        ):
            yield from (os.fsdecode(row[0]) for row in rows)
            after = rows[-1][0]

    def _fetch_page(self, sql: str, after: bytes, page: int) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, (after, page)).fetchall()

    def list_unseen(self, root: str) -> list[str]:
        """The paths under `root` that are known and were not seen in this run."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT path FROM files WHERE {UNDER_PATH} AND path NOT IN (SELECT path FROM seen)",
                _under_path(root),
            ).fetchall()
        return [os.fsdecode(row[0]) for row in rows]

    def get_file(self, path: str) -> CatalogFile | None:
        with self._lock:
            row = self._db.execute(
                "SELECT * FROM files WHERE path = ?", (os.fsencode(path),)
            ).fetchone()
        return file_from_row(row) if row else None

    def find_files(self, content_id: str) -> list[CatalogFile]:
        """The files that hold `content`, by path."""
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM files WHERE content = ? ORDER BY path", (content_id,)
            ).fetchall()
        return [file_from_row(row) for row in rows]

    def put_file(self, file: CatalogFile) -> None:
        described = json.dumps(captions_to_json(file.captions))
        row = (
            os.fsencode(file.path),
            file.size,
            file.mtime_ns,
            file.stamp,
            file.content_id,
            described,
        )
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def delete_file(self, path: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM files WHERE path = ?", (os.fsencode(path),))

    def get_content(self, content_id: str) -> CatalogContent | None:
        with self._lock:
            row = self._db.execute(
                "SELECT * FROM contents WHERE content = ?", (content_id,)
            ).fetchone()
        return CatalogContent(row[0], row[1], json.loads(row[2])) if row else None

    def put_content(self, content: CatalogContent) -> None:
        row = (content.id, content.num_chunks, json.dumps(content.base_payloads))
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", row)

    def delete_content(self, content_id: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM contents WHERE content = ?", (content_id,))

    def count_points(self) -> int:
        """How many points the contents stand for."""
        with self._lock:
            row = self._db.execute("SELECT sum(max(passages, 1)) FROM contents").fetchone()
        return int(row[0] or 0)

    def record_outcome(self, content_id: str, outcome: str) -> None:
        """Count a content once in this run: what it was first is what it stays, unless it did not
        change then, or has been added by the worker of a copy."""
        with self._lock:
            self._db.execute(
                "INSERT INTO changed VALUES (?, ?) ON CONFLICT (content)"
                " DO UPDATE SET kind = excluded.kind WHERE kind = 'unchanged'"
                " OR (kind = 'updated' AND excluded.kind = 'added')",
                (content_id, outcome),
            )

    def count_outcomes(self) -> dict[str, int]:
        """How many contents of each kind; those seen and not changed are `unchanged`."""
        with self._lock:
            kinds = dict(self._db.execute("SELECT kind, count(*) FROM changed GROUP BY kind"))
            same = self._db.execute(
                "SELECT count(DISTINCT content) FROM seen JOIN files USING (path)"
                " WHERE content NOT IN (SELECT content FROM changed)"
            ).fetchone()[0]
        return {**kinds, "unchanged": kinds.get("unchanged", 0) + same}

    def count_seen(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM seen").fetchone()[0])

    def add_root(self, root: str) -> None:
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO roots VALUES (?)", (os.fsencode(root),))

    def list_roots(self) -> list[str]:
        with self._lock:
            rows = self._db.execute("SELECT path FROM roots ORDER BY path").fetchall()
        return [os.fsdecode(row[0]) for row in rows]

    def count_under(self, root: str) -> int:
        """How many known files lie at or under `root`."""
        with self._lock:
            row = self._db.execute(
                f"SELECT count(*) FROM files WHERE {UNDER_PATH}", _under_path(root)
            ).fetchone()
        return int(row[0])

    def add_hosts(self, hosts: Iterable[str]) -> None:
        """Remember what rows of tables and lists were allowed to point to."""
        with self._lock:
            self._db.executemany("INSERT OR IGNORE INTO hosts VALUES (?)", [(h,) for h in hosts])

    def list_hosts(self) -> tuple[str, ...]:
        with self._lock:
            rows = self._db.execute("SELECT host FROM hosts ORDER BY host").fetchall()
        return tuple(row[0] for row in rows)

    def get_part_stamp(self, name: str) -> str | None:
        """The stamp that a part of a source had when all of it was done."""
        with self._lock:
            row = self._db.execute(
                "SELECT stamp FROM parts WHERE name = ?", (os.fsencode(name),)
            ).fetchone()
        return row[0] if row else None

    def put_part_stamp(self, name: str, stamp: str) -> None:
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?)", (os.fsencode(name), stamp)
            )

    def mark_seen_under(self, name: str) -> None:
        """What is known at or under `name` counts as seen."""
        with self._lock:
            self._db.execute(
                f"INSERT OR IGNORE INTO seen SELECT path FROM files WHERE {UNDER_PATH}",
                _under_path(name),
            )

    def mark_fully_listed(self, root: str) -> None:
        """This run has seen all that there is under `root`, which is no folder."""
        self._listed.append(root)

    def is_missing(self, path: str) -> bool:
        """Whether nothing is at `path`: a file is looked for on the disk, for anything else a
        listing of this run must have been without it."""
        if is_local_file(path):
            return is_missing(path)
        key = os.fsencode(path)
        with self._lock:
            seen = self._db.execute("SELECT 1 FROM seen WHERE path = ?", (key,)).fetchone()
        return not seen and any(self._is_listed_by(root, path) for root in self._listed)

    def _is_listed_by(self, root: str, path: str) -> bool:
        """A prefix does not list what is within the archives that lie there."""
        archive = container_of(path)
        return is_within(path, root) and (archive in {None, root} or is_local_file(root))

    def is_fully_listed(self, root: str) -> bool:
        """Whether this run has seen all that there is under `root`, and there was something."""
        with self._lock:
            row = self._db.execute(
                f"SELECT 1 FROM seen WHERE {UNDER_PATH} LIMIT 1", _under_path(root)
            )
            return root in self._listed and row.fetchone() is not None

    def commit(self) -> None:
        with self._lock:
            self._db.commit()

    def rollback(self) -> None:
        with self._lock:
            self._db.rollback()

    def close(self) -> None:
        """Close without keeping what was not committed."""
        with self._lock:
            self._db.close()


def _under_path(root: str) -> tuple[bytes, ...]:
    """The values of `UNDER`: "0" follows "/", and "$" follows "#"."""
    key = os.fsencode(root).rstrip(b"/")
    return key, key + b"/", key + b"0", key + b"#", key + b"$"
