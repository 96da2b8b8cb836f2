"""What is in a bucket's prefix or an archive, entry by entry: in a temporary file, not in memory.

A source that is not a folder is listed once, in whatever order it comes, and then asked often:
which pictures are there, which notes lie beside one. Paths in here begin with "/", the source's
root.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import NamedTuple

from indexer.captions.manifest import is_manifest

PAGE_SIZE = 1000
MAX_MTIME_NS = 9 * 10**18  # nanoseconds since 1970; an archive may claim any
CREATE_TABLE = """
CREATE TABLE entries (
    folder BLOB, name BLOB, size INTEGER, mtime_ns INTEGER, mark TEXT, place INTEGER,
    PRIMARY KEY (folder, name)
) WITHOUT ROWID
"""


class Entry(NamedTuple):
    """A file of a listing. `mark` changes when it does; `place` is where an archive has it."""

    folder: str
    name: str
    size: int
    mtime_ns: int
    etag: str
    offset: int = 0

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"


def make_entry(path: str, size: int, mtime_ns: int, etag: str, offset: int = 0) -> Entry:
    """The entry of a path that begins with "/"; keys of a bucket may have a "/" too many."""
    folder, _, name = path.rpartition("/")
    return Entry(folder, name, size, min(max(mtime_ns, 0), MAX_MTIME_NS), etag, offset)


class Listing:
    """Thread-safe. Of two entries of one path the later stays, as in an archive."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.execute(CREATE_TABLE)
        self._manifests: dict[str, set[str]] = {}
        source = iter(entries)
        while page := list(islice(source, PAGE_SIZE)):
            self._insert(page)

    def __iter__(self) -> Iterator[list[Entry]]:
        """By folder and name, those together whose names agree up to the first dot: a picture and
        its notes are among one such group, for in byte order nothing stands between them."""
        yield from (
            list(group)
            for _, group in groupby(
                self._iterate_entries(), key=lambda e: (e.folder, e.name.partition(".")[0])
            )
        )

    def get(self, path: str) -> Entry | None:
        folder, _, name = path.rpartition("/")
        rows = self._select("folder = ? AND name = ?", os.fsencode(folder), os.fsencode(name))
        return rows[0] if rows else None

    def siblings(self, path: str) -> list[Entry]:
        """The group of `path`: all that could describe it."""
        folder, _, name = path.rpartition("/")
        stem = os.fsencode(name.partition(".")[0])
        return self._select(
            "folder = ? AND name >= ? AND name < ?",
            os.fsencode(folder),
            stem + b".",
            stem + b"/",  # "/" follows "."
        )

    def list_manifests(self, folder: str) -> list[str]:
        """The paths of the tables of captions in a folder."""
        base = folder.rstrip("/")
        return [f"{base}/{name}" for name in sorted(self._manifests.get(base, ()))]

    def _insert(self, page: list[Entry]) -> None:
        rows = [(os.fsencode(e.folder), os.fsencode(e.name), *e[2:]) for e in page]
        with self._lock:
            self._db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
        for one in page:
            if is_manifest(one.name):
                self._manifests.setdefault(one.folder, set()).add(one.name)

    def _iterate_entries(self) -> Iterator[Entry]:
        folder, name = b"", b""
        while page := self._select(
            "(folder, name) > (?, ?) ORDER BY folder, name LIMIT 1000", folder, name
        ):
            yield from page
            folder, name = os.fsencode(page[-1].folder), os.fsencode(page[-1].name)

    def _select(self, condition: str, *values: bytes) -> list[Entry]:
        with self._lock:
            rows = self._db.execute(f"SELECT * FROM entries WHERE {condition}", values).fetchall()
        return [Entry(os.fsdecode(row[0]), os.fsdecode(row[1]), *row[2:]) for row in rows]
