"""Sources that are listed once into a temporary file: a bucket's prefix, an archive.

Entry paths start with "/", the root of the source.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from hashlib import blake2b
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from embedder.images.formats import SNIFF_BYTES, get_extension
from indexer.captions.matching import fold_name
from indexer.captions.normalize import FileCaptions
from indexer.captions.resolver import (
    MAX_FILE_BYTES,
    CaptionResolver,
    is_manifest,
)
from indexer.captions.sidecar_names import match_sidecars
from indexer.captions.takeout import find_original, key_of_long_name, split_number
from indexer.errors import UnusableFileError
from indexer.paths import display_path
from indexer.sources.base import (
    Source,
    SourceFile,
    SourcePart,
    identify_file,
    is_ignored,
)
from indexer.sources.passed_over import classify_other
from indexer.types import Note, SkipCallback, SkippedFile

PAGE_SIZE = 1000
NUMBER_PATTERN = re.compile(r"\(\d+\)")
MAX_MTIME_NS = 9 * 10**18  # since 1970; an archive may claim any time
CREATE_TABLE = """
CREATE TABLE entries (
    folder BLOB, key TEXT, name BLOB, size INTEGER, mtime_ns INTEGER, etag TEXT, offset INTEGER,
    PRIMARY KEY (folder, key, name)
) WITHOUT ROWID
"""


class Entry(NamedTuple):
    """A file of a listing. `etag` changes when it does; `offset` is its place in an archive."""

    path: str
    size: int
    mtime_ns: int
    etag: str
    offset: int = 0

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Listing:
    """Entries on disk. Thread-safe. Of two entries with one path the later counts, as in tar."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.execute(CREATE_TABLE)
        self._manifests: dict[str, set[str]] = {}
        remaining = iter(entries)
        while page := list(islice(remaining, PAGE_SIZE)):
            valid = (e._replace(mtime_ns=min(max(e.mtime_ns, 0), MAX_MTIME_NS)) for e in page)
            rows = [(*_make_key(e.path), *e[1:]) for e in valid]
            self._db.executemany(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )
            for entry in page:
                if is_manifest(entry.name):
                    self._manifests.setdefault(entry.folder, set()).add(entry.name)

    def __iter__(self) -> Iterator[list[Entry]]:
        """Yield the entries by folder, in groups: an image and its sidecars are in one, unless the
        name of the sidecar is cut short."""
        for _, group in groupby(self._iterate_entries(), key=lambda e: _make_key(e.path)[:2]):
            yield list(group)

    def get(self, path: str) -> Entry | None:
        rows = self._select("folder = ? AND key = ? AND name = ?", *_make_key(path))
        return rows[0] if rows else None

    def siblings(self, path: str) -> list[Entry]:
        """Return the group of `path`: everything that could describe it."""
        folder, key, name = _make_key(path)
        found = self._select("folder = ? AND key = ?", folder, key)
        beginning, number = key_of_long_name(os.fsdecode(name)) or ("", "")
        sidecar = f"{beginning}({number}).json" if number else f"{beginning}.json"
        if beginning and self.get(f"{path.rpartition('/')[0]}/{sidecar}"):
            first = os.fsencode(beginning)
            found += self._select(
                "folder = ? AND name >= ? AND name < ?", folder, first, first + b"\xff"
            )
        return found

    def list_manifests(self, folder: str) -> list[str]:
        """Return the paths of the tables of captions in a folder."""
        base = folder.rstrip("/")
        return [f"{base}/{name}" for name in sorted(self._manifests.get(base, ()))]

    def _iterate_entries(self) -> Iterator[Entry]:
        after: tuple[bytes | str, ...] = (b"", "", b"")
        while page := self._select(
            "(folder, key, name) > (?, ?, ?) ORDER BY folder, key, name LIMIT 1000", *after
        ):
            yield from page
            after = _make_key(page[-1].path)

    def _select(self, condition: str, *values: bytes | str) -> list[Entry]:
        sql = f"SELECT folder, name, size, mtime_ns, etag, offset FROM entries WHERE {condition}"
        with self._lock:
            rows = self._db.execute(sql, values).fetchall()
        return [Entry(os.fsdecode(row[0] + b"/" + row[1]), *row[2:]) for row in rows]


def _make_key(path: str) -> tuple[bytes, str, bytes]:
    """Return the folder of an entry, what it has in common with its sidecars, and its name."""
    folder, _, name = path.rpartition("/")
    stem = split_number(name.partition(".")[0])[0]
    numbers = NUMBER_PATTERN.findall(name)  # `x.jpg(2).json` is of `x(2).jpg`
    key = fold_name(find_original(stem) or stem) + "".join(numbers[-1:])
    return os.fsencode(folder), key.encode("utf-8", "replace").decode(), os.fsencode(name)


class ListedSource(Source):
    """A source that is listed as a whole before anything in it is read."""

    @abstractmethod
    def list_entries(self, on_skip: SkipCallback) -> Iterator[Entry]: ...

    @abstractmethod
    def fetch(self, entry: Entry, max_bytes: int) -> bytes:
        """Return at most the first `max_bytes` of an entry; raises `UnusableFileError`."""

    @abstractmethod
    def to_catalog_path(self, listing_path: str) -> str: ...

    @abstractmethod
    def to_listing_path(self, path: str) -> str: ...

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[SourceFile]:
        """Yield what a walk of the same files would.

        Unlike a walk, it reads a file's first bytes only if its name has no extension.
        """
        self._listing = Listing(self.list_entries(on_skip))
        self._captions = _ListedCaptions(self, self._listing)
        for group in self._listing:
            if any(is_ignored(part) for part in group[0].folder.split("/") if part):
                continue
            sidecars = match_sidecars(entry.name for entry in group).sidecars
            for entry in group:
                if entry.name in sidecars or is_ignored(entry.name):
                    continue
                path = self.to_catalog_path(entry.path)
                try:
                    kind = identify_file(entry.name, partial(self._read_head, entry))
                except UnusableFileError as error:
                    on_skip(SkippedFile(display_path(path), error.reason, error.detail))
                    continue
                if kind:
                    yield SourceFile(path, entry.size, entry.mtime_ns, kind)
                elif is_manifest(entry.name):
                    self._captions.add_table(entry.path)
                else:
                    self.passed_over[classify_other(entry.name)] += 1

    def list_notes(self) -> list[Note]:
        return self._captions.list_notes()

    def compute_stamp(self, path: str) -> str:
        listing_path = self.to_listing_path(path)
        entry = self._listing.get(listing_path)
        text = f"{entry.etag if entry else ''} {self._captions.compute_stamp(listing_path)}"
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def load_captions(self, path: str) -> FileCaptions:
        captions = self._captions.load_captions(self.to_listing_path(path))
        return replace(captions, stamp=self.compute_stamp(path))

    @cached_property
    def _listing(self) -> Listing:
        return Listing(self.list_entries(lambda _: None))

    @cached_property
    def _captions(self) -> _ListedCaptions:
        return _ListedCaptions(self, self._listing)

    def _read_head(self, entry: Entry) -> bytes:
        if get_extension(entry.name) or not entry.size:
            return b""
        try:
            return self.fetch(entry, SNIFF_BYTES)
        except UnusableFileError:
            return b""


class _ListedCaptions(CaptionResolver):
    """The captions of a listed source."""

    def __init__(self, source: ListedSource, listing: Listing) -> None:
        super().__init__([Path("/")], source._on_skip, source._options.manifest)
        self._source, self._listing = source, listing

    def to_catalog_path(self, path: str) -> str:
        return self._source.to_catalog_path(path)

    def list_sidecars(self, path: str) -> list[tuple[str, str]]:
        siblings = {entry.name: entry for entry in self._listing.siblings(path)}
        matches = match_sidecars(siblings)
        self.log_sidecars(path.rpartition("/")[0] or "/", matches)
        names = matches.by_image.get(path.rpartition("/")[2], [])
        return [(name, f"{name} {siblings[name].etag}") for name in names]

    def list_manifests(self, folder: str) -> list[str]:
        return self._listing.list_manifests(folder)

    def has_rival(self, path: str) -> bool:
        key = fold_name(path.rpartition("/")[2])
        return sum(fold_name(entry.name) == key for entry in self._listing.siblings(path)) > 1

    def exists(self, folder: str, name: str) -> bool:
        return self._listing.get(f"{folder.rstrip('/')}/{name}") is not None

    def iterate_names(self) -> Iterator[str]:
        return (entry.name for group in self._listing for entry in group)

    def read_file(self, file: str) -> bytes:
        entry = self._listing.get(file)
        if entry is None:
            raise ValueError("it no longer exists")
        try:
            return self._source.fetch(entry, MAX_FILE_BYTES) if entry.size else b""
        except UnusableFileError as error:
            raise ValueError(error.detail) from None
