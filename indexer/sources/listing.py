"""A bucket's prefix or an archive, listed once into a temporary file, and the images in it.

Entry paths start with "/", the root of the source.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from embedder.images.formats import (
    RAW_ADVICE,
    SNIFF_BYTES,
    detect_kind,
    get_extension,
    sniff_format,
    unsupported_reason,
)
from indexer.captions.resolver import (
    MAX_FILE_BYTES,
    CaptionResolver,
    FileCaptions,
    find_sidecars,
    is_manifest,
    match_sidecars,
)
from indexer.paths import display_path
from indexer.skip_reasons import UnusableFileError
from indexer.sources.base import DiscoveredFile, SkipCallback
from indexer.sources.local import is_ignored
from indexer.types import SkippedFile

PAGE_SIZE = 1000
MAX_MTIME_NS = 9 * 10**18  # since 1970; an archive may claim any time
CREATE_TABLE = """
CREATE TABLE entries (
    folder BLOB, name BLOB, size INTEGER, mtime_ns INTEGER, etag TEXT, offset INTEGER,
    PRIMARY KEY (folder, name)
) WITHOUT ROWID
"""


class Entry(NamedTuple):
    """A file of a listing. `etag` changes when it does; `offset` is its place in an archive."""

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
    """Return the entry of a path that starts with "/"; a bucket's key may have a "/" too many."""
    folder, _, name = path.rpartition("/")
    return Entry(folder, name, size, min(max(mtime_ns, 0), MAX_MTIME_NS), etag, offset)


class Listing:
    """Entries on disk. Thread-safe. Of two entries with one path the later counts, as in tar."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.execute(CREATE_TABLE)
        self._manifests: dict[str, set[str]] = {}
        source = iter(entries)
        while page := list(islice(source, PAGE_SIZE)):
            self._insert(page)

    def __iter__(self) -> Iterator[list[Entry]]:
        """Yield the entries by folder and name, grouped by the name up to its first dot.

        An image and its sidecars are in one group: in byte order nothing comes between them.
        """
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
        """Return the group of `path`: everything that could describe it."""
        folder, _, name = path.rpartition("/")
        stem = os.fsencode(name.partition(".")[0])
        return self._select(
            "folder = ? AND name >= ? AND name < ?",
            os.fsencode(folder),
            stem + b".",
            stem + b"/",  # "/" follows "."
        )

    def list_manifests(self, folder: str) -> list[str]:
        """Return the paths of the tables of captions in a folder."""
        base = folder.rstrip("/")
        return [f"{base}/{name}" for name in sorted(self._manifests.get(base, ()))]

    def _insert(self, page: list[Entry]) -> None:
        rows = [(os.fsencode(e.folder), os.fsencode(e.name), *e[2:]) for e in page]
        with self._lock:
            self._db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
        for entry in page:
            if is_manifest(entry.name):
                self._manifests.setdefault(entry.folder, set()).add(entry.name)

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


Fetch = Callable[[Entry, int], bytes]
"""(entry, n) -> at most the first n bytes of an entry; raises `UnusableFileError`."""


@dataclass(frozen=True, slots=True)
class ListedCaptionFiles:
    """The caption files in a listing. `to_catalog_path` gives the path that the catalog knows."""

    listing: Listing
    fetch: Fetch
    to_catalog_path: Callable[[str], str]

    def list_sidecars(self, path: str) -> list[tuple[str, str]]:
        siblings = {entry.name: entry for entry in self.listing.siblings(path)}
        names = match_sidecars(siblings).get(path.rpartition("/")[2], [])
        return [(name, f"{name} {siblings[name].etag}") for name in names]

    def list_manifests(self, folder: str) -> list[str]:
        return self.listing.list_manifests(folder)

    def read(self, file: str) -> bytes:
        entry = self.listing.get(file)
        if entry is None:
            raise ValueError("it no longer exists")
        try:
            return self.fetch(entry, MAX_FILE_BYTES) if entry.size else b""
        except UnusableFileError as error:
            raise ValueError(error.detail) from None

    def display_path(self, path: str) -> str:
        return self.to_catalog_path(path)


class ListedFiles:
    """The images and texts of a listing, and what is written about them.

    Args:
        listing: The listed entries.
        fetch: Reads them.
        to_catalog_path: Gives the path that the catalog knows.
        on_skip: Gets the caption files that cannot be read.
        manifest: The table of captions that the user named.
    """

    def __init__(
        self,
        listing: Listing,
        fetch: Fetch,
        to_catalog_path: Callable[[str], str],
        on_skip: SkipCallback,
        manifest: Path | None,
    ) -> None:
        self.listing, self._fetch, self._to_catalog_path = listing, fetch, to_catalog_path
        files = ListedCaptionFiles(listing, fetch, to_catalog_path)
        self._captions = CaptionResolver([Path("/")], on_skip, manifest, files)

    def discover(self, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        """Yield what a walk of the same files would.

        Unlike a walk, it reads a file's first bytes only if its name has no extension.
        """
        is_hidden = lru_cache(maxsize=8)(_is_hidden_folder)
        for group in self.listing:
            if is_hidden(group[0].folder):
                continue
            sidecars = find_sidecars(entry.name for entry in group)
            for entry in group:
                if entry.name not in sidecars and not is_ignored(entry.name):
                    file = self._identify_entry(entry, on_skip)
                    if file:
                        yield file

    def compute_stamp(self, path: str) -> str:
        """Return a stamp of the file itself and of everything written about it."""
        entry = self.listing.get(path)
        text = f"{entry.etag if entry else ''} {self._captions.compute_stamp(path)}"
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def load_captions(self, path: str) -> FileCaptions:
        return replace(self._captions.load_captions(path), stamp=self.compute_stamp(path))

    def _identify_entry(self, entry: Entry, on_skip: SkipCallback) -> DiscoveredFile | None:
        path = self._to_catalog_path(entry.path)
        advice, kind = unsupported_reason(entry.name), detect_kind(entry.name)
        if not advice and kind is None and not get_extension(entry.name) and entry.size:
            format = self._sniff_entry(entry)
            advice = RAW_ADVICE if format == "raw" else None
            kind = "image" if format else None
        if advice:
            on_skip(SkippedFile(display_path(path), "unsupported", advice))
            return None
        return DiscoveredFile(path, entry.size, entry.mtime_ns, kind) if kind else None

    def _sniff_entry(self, entry: Entry) -> str | None:
        try:
            return sniff_format(self._fetch(entry, SNIFF_BYTES))
        except UnusableFileError:
            return None


def _is_hidden_folder(folder: str) -> bool:
    return any(is_ignored(part) for part in folder.split("/") if part)
