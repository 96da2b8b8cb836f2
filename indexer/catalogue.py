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
from indexer.files import Content, File, Todo, file_of, is_gone, plain
from indexer.sources import continues, holder, is_plain

TABLES = """
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
UNDER = "(path = ? OR (path > ? AND path < ?) OR (path > ? AND path < ?))"


class Catalogue:
    """Thread-safe; nothing is kept before `commit()`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._listed: list[str] = []
        try:
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(TABLES)
        except sqlite3.DatabaseError as error:
            raise CollectionError(
                f"{path} is damaged ({error}); it can be made anew from the files and the store: "
                f"delete it and ingest again (nothing is embedded twice)"
            ) from error

    def unchanged(self, path: str, size: int, mtime_ns: int, stamp: str) -> bool:
        """Whether `path` is as it was; it counts as seen either way."""
        key = os.fsencode(path)
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,))
            row = self._db.execute(
                "SELECT size, mtime_ns, stamp FROM files WHERE path = ?", (key,)
            ).fetchone()
        return bool(row == (size, mtime_ns, stamp))

    def add_todo(self, todo: Todo) -> None:
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO todo VALUES (?, ?, ?, ?)",
                (os.fsencode(todo.path), todo.size, todo.mtime_ns, todo.kind),
            )

    def count_todo(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM todo").fetchone()[0])

    def todo(self, page: int = 1000) -> Iterator[Todo]:
        """What is to be done, by path; paged, so that writing may go on meanwhile."""
        after = b""
        while rows := self._page(
            "SELECT * FROM todo WHERE path > ? ORDER BY path LIMIT ?", after, page
        ):
            yield from (Todo(os.fsdecode(row[0]), *row[1:]) for row in rows)
            after = rows[-1][0]

    def files(self, page: int = 1000) -> Iterator[str]:
        """Every path known, in order; paged."""
        after = b""
        while rows := self._page(
            "SELECT path FROM files WHERE path > ? ORDER BY path LIMIT ?", after, page
        ):
            yield from (os.fsdecode(row[0]) for row in rows)
            after = rows[-1][0]

    def _page(self, sql: str, after: bytes, page: int) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, (after, page)).fetchall()

    def vanished(self, root: str) -> list[str]:
        """The paths under `root` that are known and were not seen in this run."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT path FROM files WHERE {UNDER} AND path NOT IN (SELECT path FROM seen)",
                _under(root),
            ).fetchall()
        return [os.fsdecode(row[0]) for row in rows]

    def file(self, path: str) -> File | None:
        with self._lock:
            row = self._db.execute(
                "SELECT * FROM files WHERE path = ?", (os.fsencode(path),)
            ).fetchone()
        return file_of(row) if row else None

    def paths_of(self, content: str) -> list[File]:
        """The files that hold `content`, by path."""
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM files WHERE content = ? ORDER BY path", (content,)
            ).fetchall()
        return [file_of(row) for row in rows]

    def put_file(self, file: File) -> None:
        described = json.dumps(plain(file.described))
        row = (
            os.fsencode(file.path),
            file.size,
            file.mtime_ns,
            file.stamp,
            file.content,
            described,
        )
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def drop_file(self, path: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM files WHERE path = ?", (os.fsencode(path),))

    def content(self, content: str) -> Content | None:
        with self._lock:
            row = self._db.execute(
                "SELECT * FROM contents WHERE content = ?", (content,)
            ).fetchone()
        return Content(row[0], row[1], json.loads(row[2])) if row else None

    def put_content(self, content: Content) -> None:
        row = (content.content, content.passages, json.dumps(content.facts))
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", row)

    def drop_content(self, content: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM contents WHERE content = ?", (content,))

    def count_points(self) -> int:
        """How many points the contents stand for."""
        with self._lock:
            row = self._db.execute("SELECT sum(max(passages, 1)) FROM contents").fetchone()
        return int(row[0] or 0)

    def count(self, content: str, kind: str) -> None:
        """Count a content once in this run: what it was first is what it stays, unless it did not
        change then, or has been added by the worker of a copy."""
        with self._lock:
            self._db.execute(
                "INSERT INTO changed VALUES (?, ?) ON CONFLICT (content)"
                " DO UPDATE SET kind = excluded.kind WHERE kind = 'unchanged'"
                " OR (kind = 'updated' AND excluded.kind = 'added')",
                (content, kind),
            )

    def tally(self) -> dict[str, int]:
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

    def roots(self) -> list[str]:
        with self._lock:
            rows = self._db.execute("SELECT path FROM roots ORDER BY path").fetchall()
        return [os.fsdecode(row[0]) for row in rows]

    def count_under(self, root: str) -> int:
        """How many known files lie at or under `root`."""
        with self._lock:
            row = self._db.execute(
                f"SELECT count(*) FROM files WHERE {UNDER}", _under(root)
            ).fetchone()
        return int(row[0])

    def add_hosts(self, hosts: Iterable[str]) -> None:
        """Remember what rows of tables and lists were allowed to point to."""
        with self._lock:
            self._db.executemany("INSERT OR IGNORE INTO hosts VALUES (?)", [(h,) for h in hosts])

    def hosts(self) -> tuple[str, ...]:
        with self._lock:
            rows = self._db.execute("SELECT host FROM hosts ORDER BY host").fetchall()
        return tuple(row[0] for row in rows)

    def part(self, name: str) -> str | None:
        """The stamp that a part of a source had when all of it was done."""
        with self._lock:
            row = self._db.execute(
                "SELECT stamp FROM parts WHERE name = ?", (os.fsencode(name),)
            ).fetchone()
        return row[0] if row else None

    def put_part(self, name: str, stamp: str) -> None:
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?)", (os.fsencode(name), stamp)
            )

    def see_under(self, name: str) -> None:
        """What is known at or under `name` counts as seen."""
        with self._lock:
            self._db.execute(
                f"INSERT OR IGNORE INTO seen SELECT path FROM files WHERE {UNDER}", _under(name)
            )

    def add_listed(self, root: str) -> None:
        """This run has seen all that there is under `root`, which is no folder."""
        self._listed.append(root)

    def is_gone(self, path: str) -> bool:
        """Whether nothing is at `path`: a file is looked for on the disk, for anything else a
        listing of this run must have been without it."""
        if is_plain(path):
            return is_gone(path)
        key = os.fsencode(path)
        with self._lock:
            seen = self._db.execute("SELECT 1 FROM seen WHERE path = ?", (key,)).fetchone()
        return not seen and any(self._lists(root, path) for root in self._listed)

    def _lists(self, root: str, path: str) -> bool:
        """A prefix does not list what is within the archives that lie there."""
        archive = holder(path)
        return continues(path, root) and (archive in {None, root} or is_plain(root))

    def listed(self, root: str) -> bool:
        """Whether this run has seen all that there is under `root`, and there was something."""
        with self._lock:
            row = self._db.execute(f"SELECT 1 FROM seen WHERE {UNDER} LIMIT 1", _under(root))
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


def _under(root: str) -> tuple[bytes, ...]:
    """The values of `UNDER`: "0" follows "/", and "$" follows "#"."""
    key = os.fsencode(root).rstrip(b"/")
    return key, key + b"/", key + b"0", key + b"#", key + b"$"
