"""The pictures of a listing, and what is written beside them: for buckets and for archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from indexer.captions import CaptionSource, Described
from indexer.kinds import HEAD, RAW_ADVICE, Kind, extension, kind_of, refused, sniff
from indexer.sidecars import owners, sidecar_names
from indexer.skips import Undecodable
from indexer.sources.listing import Entry, Listing
from indexer.sources.protocol import Reading, Report
from indexer.types import Skip
from indexer.walk import Found, ignored, printable

Fetch = Callable[[Entry, int], bytes]
"""An entry's bytes, at most so many of the first; raises `Undecodable`."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A listing, as a source shows it. `shown` gives the path that the catalogue knows."""

    listing: Listing
    fetch: Fetch
    shown: Callable[[str], str]
    captions: CaptionSource

    def found(self, skip: Report) -> Iterator[Found]:
        """The pictures and texts: what a walk of the same files in a folder would find, but that
        a file's beginning is looked at only where its name has no extension."""
        hidden = lru_cache(maxsize=8)(_is_hidden)
        for group in self.listing:
            if hidden(group[0].folder):
                continue
            notes = sidecar_names(entry.name for entry in group)
            for entry in group:
                if entry.name not in notes and not ignored(entry.name):
                    found = self._found(entry, skip)
                    if found:
                        yield found

    def stamp(self, path: str) -> str:
        """Of an entry: of the file itself, and of all that is written about it."""
        entry = self.listing.get(path)
        text = f"{entry.mark if entry else ''} {self.captions.stamp(path)}"
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def captions_for(self, path: str) -> Described:
        return replace(self.captions.captions_for(path), stamp=self.stamp(path))

    def _found(self, entry: Entry, skip: Report) -> Found | None:
        path = self.shown(entry.path)
        advice = refused(entry.name)
        if advice:
            skip(Skip(printable(path), "unsupported", advice))
            return None
        kind = kind_of(entry.name)
        if kind is None and not extension(entry.name) and entry.size:
            magic = self._magic(entry)
            if magic == "raw":
                skip(Skip(printable(path), "unsupported", RAW_ADVICE))
            kind = "image" if magic and magic != "raw" else None
        return Found(path, entry.size, entry.mtime_ns, kind) if kind else None

    def _magic(self, entry: Entry) -> str | None:
        try:
            return sniff(self.fetch(entry, HEAD))
        except Undecodable:
            return None


@dataclass(frozen=True, slots=True)
class ListedShelf:
    """Caption files among the entries of a listing."""

    listing: Listing
    fetch: Fetch
    show: Callable[[str], str]

    def sidecars(self, path: str) -> list[tuple[str, str]]:
        beside = {entry.name: entry for entry in self.listing.beside(path)}
        names = owners(beside).get(path.rpartition("/")[2], [])
        return [(name, f"{name} {beside[name].mark}") for name in names]

    def manifests(self, folder: str) -> list[str]:
        return self.listing.manifests(folder)

    def read(self, file: str) -> bytes:
        entry = self.listing.get(file)
        if entry is None:
            raise ValueError("it is no longer there")
        try:
            return self.fetch(entry, 1 << 30) if entry.size else b""
        except Undecodable as error:
            raise ValueError(error.detail) from None

    def shown(self, path: str) -> str:
        return self.show(path)


def tree_of(
    listing: Listing,
    fetch: Fetch,
    shown: Callable[[str], str],
    reading: Reading,
    skip: Report | None,
) -> Tree:
    """`skip` is told of caption files that cannot be read."""
    shelf = ListedShelf(listing, fetch, shown)
    captions = CaptionSource([Path("/")], skip or (lambda _: None), reading.manifest, shelf)
    return Tree(listing, fetch, shown, captions)


def kind_named(name: str) -> Kind:
    """What a list of pictures means by a name: a picture, unless it is a text's."""
    return kind_of(name) or "image"


def too_large(size: int, limit: int) -> Undecodable:
    return Undecodable(
        "too-large", f"{size:,} bytes; the limit is {limit:,}: raise it with --max-bytes"
    )


def checked_size(size: int, limit: int) -> int:
    """`size` if a file of so many bytes is read; raises `Undecodable`."""
    if size == 0:
        raise Undecodable("empty", "0 bytes")
    if size > limit:
        raise too_large(size, limit)
    return size


def _is_hidden(folder: str) -> bool:
    return any(ignored(part) for part in folder.split("/") if part)
