"""Catalog: which paths were seen on the disk, their contents, and what each content is.

A cache in SQLite beside the collection, so that an unchanged file costs one look-up. The store is
the truth: after a crash, or with the catalog lost, contents that the store has are adopted, not
embedded again. Paths are kept as the bytes that the file system knows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from embedder.files import open_private
from indexer.captions.dates import Taken
from indexer.captions.normalize import FileCaptions
from indexer.captions.places import Place
from indexer.collections.schema import ADDED
from indexer.errors import DamagedError, DiskFullError, StoreError
from indexer.ingest.payload import caption_to_dict, texts_to_embed
from indexer.ingest.types import NOT_READ_HERE, CatalogContent, CatalogFile
from indexer.paths import container_of, is_local_file, is_within, url_scheme
from indexer.sources import SourceFile
from indexer.types import Caption

CATALOG_FILE = "catalogue.db"
PAGE_SIZE = 1000
NUM_RECENT = 64  # contents
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
CREATE TABLE IF NOT EXISTS recent (number INTEGER PRIMARY KEY, content TEXT, passages INTEGER);
CREATE TABLE IF NOT EXISTS forgotten (content TEXT PRIMARY KEY, added TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ctimes (path BLOB PRIMARY KEY, ctime_ns INTEGER) WITHOUT ROWID;
CREATE TEMP TABLE seen (path BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE pending (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, kind TEXT, ctime_ns INTEGER
) WITHOUT ROWID;
CREATE TEMP TABLE outcomes (content TEXT PRIMARY KEY, outcome TEXT) WITHOUT ROWID;
CREATE TEMP TABLE lost (path BLOB PRIMARY KEY, content TEXT) WITHOUT ROWID;
"""
ACCESS_ERRORS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
UNDER_PATH = "(path = ? OR (path > ? AND path < ?) OR (path > ? AND path < ?))"


class Catalog:
    """Thread-safe; nothing is kept before `commit()`.

    Every method raises `DamagedError` where the file is damaged, and `StoreError` or
    `DiskFullError` where it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.RLock()
        self._fully_listed: list[str] = []
        with self._catch_errors():
            self._db = connect(path)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(SCHEMA)

    def commit(self) -> None:
        with self._catch_errors():
            self._db.execute(
                "DELETE FROM recent WHERE number <= (SELECT max(number) FROM recent) - ?",
                (NUM_RECENT,),
            )
            self._db.commit()

    def rollback(self) -> None:
        with self._catch_errors():
            self._db.rollback()

    def check_integrity(self) -> None:
        """Read the whole file; raises `DamagedError` if a page or an index of it is damaged."""
        rows = self._fetch("PRAGMA integrity_check(1)")
        if rows != [("ok",)]:
            raise self._damaged_error(rows[0][0].splitlines()[-1] if rows else "it is empty")

    def close(self) -> None:
        """Close without keeping what was not committed."""
        with self._lock:
            self._db.close()

    # What this run has seen

    def mark_seen(self, path: str) -> None:
        self._execute("INSERT OR IGNORE INTO seen VALUES (?)", os.fsencode(path))

    def mark_seen_under(self, name: str) -> None:
        """Count every known path at or under `name` as seen."""
        self._execute(
            f"INSERT OR IGNORE INTO seen SELECT path FROM files WHERE {UNDER_PATH}",
            *_under_path(name),
        )

    def mark_fully_listed(self, root: str) -> None:
        """This run has seen everything under `root`, which is not a folder of this machine."""
        self._fully_listed.append(root)

    def count_seen(self) -> int:
        return int(self._fetch("SELECT count(*) FROM seen")[0][0])

    def is_unchanged(self, file: SourceFile, stamp: str) -> bool:
        """Whether a file is as it was when it was last read. A ctime that is not known yet, as in a
        catalog of an earlier version, is taken as it is."""
        sql = (
            "SELECT size, mtime_ns, stamp, ctime_ns FROM files LEFT JOIN ctimes USING (path)"
            " WHERE path = ?"
        )
        rows = self._fetch(sql, os.fsencode(file.path))
        if not rows or rows[0][:3] != (file.size, file.mtime_ns, stamp):
            return False
        known = rows[0][3]
        if file.ctime_ns is not None and known is None:
            self._put_ctime(file.path, file.ctime_ns)
        return known is None or file.ctime_ns in (None, known)

    def list_unseen(self, root: str) -> list[str]:
        """The paths at or under `root` that are known and were not seen in this run."""
        rows = self._fetch(
            f"SELECT path FROM files WHERE {UNDER_PATH} AND path NOT IN (SELECT path FROM seen)",
            *_under_path(root),
        )
        return [self._parse_path(path) for (path,) in rows]

    def is_fully_listed(self, root: str) -> bool:
        """Whether this run has seen everything under `root`, and there was something."""
        sql = f"SELECT 1 FROM seen WHERE {UNDER_PATH} LIMIT 1"
        return root in self._fully_listed and bool(self._fetch(sql, *_under_path(root)))

    def is_missing(self, path: str) -> bool:
        """Whether nothing is at `path`: a local file is looked for on the disk, anything else must
        be absent from a complete listing of this run."""
        if is_local_file(path):
            return is_missing(path)
        if self._fetch("SELECT 1 FROM seen WHERE path = ?", os.fsencode(path)):
            return False
        container = container_of(path)
        return any(
            # a prefix does not list what is within the archives that lie there
            is_within(path, root) and (container in {None, root} or is_local_file(root))
            for root in self._fully_listed
        )

    # Pending files

    def add_pending(self, file: SourceFile) -> None:
        row = (os.fsencode(file.path), file.size, file.mtime_ns, file.kind, file.ctime_ns)
        self._execute("INSERT OR IGNORE INTO pending VALUES (?, ?, ?, ?, ?)", *row)

    def count_pending(self) -> int:
        return int(self._fetch("SELECT count(*) FROM pending")[0][0])

    def iter_pending(self) -> Iterator[SourceFile]:
        """The pending files by path; paged, so that writing goes on between."""
        for row in self._iter_rows("pending"):
            yield SourceFile(self._parse_path(row[0]), *row[1:])

    # Files and contents

    def iter_paths(self) -> Iterator[str]:
        """Every known path, in order; paged."""
        for row in self._iter_rows("files"):
            yield self._parse_path(row[0])

    def count_under(self, root: str) -> int:
        """How many known files lie at or under `root`."""
        sql = f"SELECT count(*) FROM files WHERE {UNDER_PATH}"
        return int(self._fetch(sql, *_under_path(root))[0][0])

    def get_file(self, path: str) -> CatalogFile | None:
        rows = self._fetch("SELECT * FROM files WHERE path = ?", os.fsencode(path))
        return self._parse_file(rows[0]) if rows else None

    def find_files(self, content_id: str) -> list[CatalogFile]:
        """The files that hold a content, by path."""
        sql = "SELECT * FROM files WHERE content = ? ORDER BY path"
        return [self._parse_file(row) for row in self._fetch(sql, content_id)]

    def put_file(self, file: CatalogFile) -> None:
        row = (
            os.fsencode(file.path),
            file.size,
            file.mtime_ns,
            file.captions.stamp,
            file.content_id,
            json.dumps(_format_captions(file.captions)),
        )
        self._execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", *row)
        self._put_ctime(file.path, file.ctime_ns)

    def delete_file(self, path: str) -> None:
        self._execute("DELETE FROM files WHERE path = ?", os.fsencode(path))
        self._put_ctime(path, None)

    def has_content(self, content_id: str) -> bool:
        return bool(self._fetch("SELECT 1 FROM contents WHERE content = ?", content_id))

    def get_content(self, content_id: str) -> CatalogContent | None:
        rows = self._fetch("SELECT * FROM contents WHERE content = ?", content_id)
        return self._parse_content(rows[0]) if rows else None

    def put_content(self, content: CatalogContent) -> None:
        row = (content.id, content.num_chunks, json.dumps(content.base_payloads))
        self._execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", *row)
        self._record_recent(content.id)

    def delete_content(self, content_id: str) -> None:
        self._record_recent(content_id)
        self._execute("DELETE FROM forgotten WHERE content = ?", content_id)
        self._execute("DELETE FROM contents WHERE content = ?", content_id)

    def iter_contents(self) -> Iterator[CatalogContent]:
        """Every content, ordered by id; paged, so that they may be deleted between."""
        for row in self._iter_rows("contents", key="content"):
            yield self._parse_content(row)

    def count_points(self) -> int:
        """How many points the contents stand for."""
        return int(self._fetch("SELECT sum(max(passages, 1)) FROM contents")[0][0] or 0)

    # The consistency with the store

    def list_recent(self) -> list[tuple[str, int]]:
        """The contents that were written or deleted last, with their number of chunks."""
        return self._fetch("SELECT DISTINCT content, passages FROM recent")

    def get_surplus(self) -> int:
        """How many points the store had beyond those of the contents, at the last full check."""
        rows = self._fetch("SELECT value FROM numbers WHERE name = 'surplus'")
        return int(rows[0][0]) if rows else 0

    def put_surplus(self, points: int) -> None:
        self._execute("INSERT OR REPLACE INTO numbers VALUES ('surplus', ?)", points)

    def forget_content(self, content_id: str) -> None:
        """Delete a content and its files, as if they had never been read: the store has lost its
        points, or has them as they were before. Only the date is kept on which it was added."""
        if content := self.get_content(content_id):
            sql = "INSERT OR REPLACE INTO forgotten VALUES (?, ?)"
            self._execute(sql, content_id, content.base_payloads[0].get(ADDED, ""))
        read_here = "content = ? AND size != ?"
        self._execute(
            f"INSERT OR IGNORE INTO lost SELECT path, content FROM files WHERE {read_here}",
            content_id,
            NOT_READ_HERE,
        )
        self._execute("DELETE FROM files WHERE content = ?", content_id)
        self._execute("DELETE FROM contents WHERE content = ?", content_id)
        self._execute("DELETE FROM parts")  # list them again

    def find_forgotten_date(self, content_id: str) -> str | None:
        """When a content was added that was forgotten since; "" if that is not known."""
        rows = self._fetch("SELECT added FROM forgotten WHERE content = ?", content_id)
        return rows[0][0] if rows else None

    def count_recovered(self) -> int:
        """How many of the contents that were forgotten are there again."""
        sql = "SELECT count(DISTINCT content) FROM lost JOIN contents USING (content)"
        return int(self._fetch(sql)[0][0])

    def list_lost(self) -> list[str]:
        """The paths of the contents that were forgotten and are not there again."""
        sql = "SELECT path FROM lost WHERE content NOT IN (SELECT content FROM contents)"
        return [self._parse_path(path) for (path,) in self._fetch(sql)]

    # Outcomes of this run

    def record_outcome(self, content_id: str, outcome: str) -> None:
        """Count a content once in this run: its first outcome counts, unless it was unchanged."""
        self._execute(
            "INSERT INTO outcomes VALUES (?, ?) ON CONFLICT (content)"
            " DO UPDATE SET outcome = excluded.outcome WHERE outcome = 'unchanged'",
            content_id,
            outcome,
        )

    def count_outcomes(self) -> dict[str, int]:
        """How many contents have each outcome; those of files that were not read are `unchanged`.

        Files that were to be read, and failed or were not reached, have no outcome.
        """
        counts = dict(self._fetch("SELECT outcome, count(*) FROM outcomes GROUP BY outcome"))
        unchanged = self._fetch(
            "SELECT count(DISTINCT content) FROM seen JOIN files USING (path)"
            " WHERE content NOT IN (SELECT content FROM outcomes)"
            " AND path NOT IN (SELECT path FROM pending)"
        )[0][0]
        return {**counts, "unchanged": counts.get("unchanged", 0) + unchanged}

    # Roots, hosts and parts of sources

    def add_root(self, root: str) -> None:
        self._execute("INSERT OR IGNORE INTO roots VALUES (?)", os.fsencode(root))

    def list_roots(self) -> list[str]:
        rows = self._fetch("SELECT path FROM roots ORDER BY path")
        return [self._parse_path(path) for (path,) in rows]

    def forget_remote_roots(self) -> list[str]:
        """Forget the roots that are on other hosts, and the hosts of lists; return the roots.

        Their files stay: the next ingest that names such a root finds them unchanged.
        """
        remote = [root for root in self.list_roots() if url_scheme(root)]
        for root in remote:
            self._execute("DELETE FROM roots WHERE path = ?", os.fsencode(root))
        self._execute("DELETE FROM hosts")
        return remote

    def add_hosts(self, hosts: Iterable[str]) -> None:
        """Remember the hosts that rows of tables and lists may point to."""
        for host in hosts:
            self._execute("INSERT OR IGNORE INTO hosts VALUES (?)", host)

    def list_hosts(self) -> tuple[str, ...]:
        return tuple(host for (host,) in self._fetch("SELECT host FROM hosts ORDER BY host"))

    def get_part_stamp(self, name: str) -> str | None:
        """The stamp that a part of a source had when all of it was done."""
        rows = self._fetch("SELECT stamp FROM parts WHERE name = ?", os.fsencode(name))
        return rows[0][0] if rows else None

    def put_part_stamp(self, name: str, stamp: str) -> None:
        self._execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", os.fsencode(name), stamp)

    def _put_ctime(self, path: str, ctime_ns: int | None) -> None:
        """A table of its own, which earlier versions do without."""
        if ctime_ns is None:
            self._execute("DELETE FROM ctimes WHERE path = ?", os.fsencode(path))
        else:
            sql = "INSERT OR REPLACE INTO ctimes VALUES (?, ?)"
            self._execute(sql, os.fsencode(path), ctime_ns)

    def _execute(self, sql: str, *values: object) -> None:
        with self._catch_errors():
            self._db.execute(sql, values)

    def _fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._catch_errors():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _catch_errors(self) -> Iterator[None]:
        """Hold the lock, and translate the errors of SQLite."""
        try:
            with self._lock:
                yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: damaged text
            code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_CORRUPT) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise DiskFullError(
                    f"{self._path} cannot be written: the disk is full; free some space, and run "
                    "the command again"
                ) from error
            if code in ACCESS_ERRORS:
                raise StoreError(
                    f"{self._path} cannot be read or written ({error}); check the disk and its "
                    "permissions, and run the command again"
                ) from error
            raise self._damaged_error(error) from error

    def _damaged_error(self, reason: object) -> DamagedError:
        return DamagedError(
            f"{self._path}, the catalog of the files, is damaged ({reason}); it is rebuilt from "
            "the files and the store, and nothing is embedded twice. Type: indexer doctor "
            "--repair, then indexer ingest FOLDER"
        )

    def _parse_content(self, row: tuple[Any, ...]) -> CatalogContent:
        try:
            id, num_chunks, facts = row
            content = CatalogContent(id, num_chunks, json.loads(facts))
            if len(content.point_ids) != len(content.base_payloads):
                raise ValueError(f"{len(content.base_payloads)} payloads")
            for payload in content.base_payloads:
                if payload["content"] != id or payload["kind"] not in {"image", "text"}:
                    raise ValueError("the payload of something else")
                tuple(Caption(**caption) for caption in payload["captions"])
                texts_to_embed(payload), tuple(payload["tags"])
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise self._damaged_error(f"content {row[0]!r}: {error}") from error
        return content

    def _parse_file(self, row: tuple[Any, ...]) -> CatalogFile:
        try:
            path, size, mtime_ns, stamp, content_id, described = row
            values = json.loads(described)
            captions = tuple(Caption(**caption) for caption in values["captions"])
            taken, place = values.get("taken"), values.get("place")
            file_captions = FileCaptions(
                captions,
                tuple(values["tags"]),
                values["meta"],
                stamp,
                Taken(*taken) if taken else None,
                Place(*place) if place else None,
            )
            return CatalogFile(
                self._parse_path(path), int(size), int(mtime_ns), content_id, file_captions
            )
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise self._damaged_error(f"file {row[0]!r}: {error}") from error

    def _parse_path(self, value: Any) -> str:
        if not isinstance(value, bytes):
            raise self._damaged_error(f"path {value!r}")
        return os.fsdecode(value)

    def _record_recent(self, content_id: str) -> None:
        sql = "INSERT INTO recent (content, passages) SELECT content, passages FROM contents"
        self._execute(f"{sql} WHERE content = ?", content_id)

    def _iter_rows(self, table: str, key: str = "path") -> Iterator[tuple[Any, ...]]:
        sql = f"SELECT * FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT {PAGE_SIZE}"
        after: Any = b"" if key == "path" else ""
        while rows := self._fetch(sql, after):
            yield from rows
            after = rows[-1][0]


def _format_captions(captions: FileCaptions) -> dict[str, Any]:
    values: dict[str, Any] = {
        "captions": [caption_to_dict(caption) for caption in captions.captions],
        "tags": captions.tags,
        "meta": captions.meta,
    }
    if captions.taken:
        values["taken"] = astuple(captions.taken)
    if captions.place:
        values["place"] = astuple(captions.place)
    return values


def connect(path: Path) -> sqlite3.Connection:
    """Open the SQLite file of a catalog; a new one is private. Raises `sqlite3.Error`.

    One that this account cannot write to is read into memory: SQLite reads a file of this kind only
    where it can write beside it.
    """
    try:
        open_private(path, "ab").close()
    except OSError:
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        uri = f"{path.absolute().as_uri()}?immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as file:
            file.backup(memory)
        return memory
    return sqlite3.connect(path, check_same_thread=False)


def is_missing(path: str) -> bool:
    """Whether nothing is at `path`; what is in an unreadable folder does not count as missing."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _under_path(root: str) -> tuple[bytes, ...]:
    """The values of `UNDER_PATH`: "0" follows "/", and "$" follows "#"."""
    key = os.fsencode(root).rstrip(b"/")
    return key, key + b"/", key + b"0", key + b"#", key + b"$"
