"""The pictures of a listing, and what is written beside them: for buckets and for archives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from embedder.images.formats import (
    RAW_ADVICE,
    SNIFF_BYTES,
    FileKind,
    detect_kind,
    get_extension,
    sniff_format,
    unsupported_reason,
)
from indexer.captions.resolver import CaptionResolver, FileCaptions
from indexer.captions.sidecar import find_sidecars, match_sidecars
from indexer.paths import display_path
from indexer.skip_reasons import UnusableFileError
from indexer.sources.base import SkipCallback, SourceOptions
from indexer.sources.listing import Entry, Listing
from indexer.sources.walk import DiscoveredFile, is_ignored
from indexer.types import SkippedFile

Fetch = Callable[[Entry, int], bytes]
"""An entry's bytes, at most so many of the first; raises `Undecodable`."""


@dataclass(frozen=True, slots=True)
class ListedFiles:
    """A listing, as a source shows it. `shown` gives the path that the catalogue knows."""

    listing: Listing
    fetch: Fetch
    to_catalog_path: Callable[[str], str]
    captions: CaptionResolver

    def discover(self, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        """The pictures and texts: what a walk of the same files in a folder would find, but that
        a file's beginning is looked at only where its name has no extension."""
        hidden = lru_cache(maxsize=8)(_is_hidden_folder)
        for group in self.listing:
            if hidden(group[0].folder):
                continue
            sidecars = find_sidecars(entry.name for entry in group)
            for entry in group:
                if entry.name not in sidecars and not is_ignored(entry.name):
                    found = self._identify_entry(entry, on_skip)
                    if found:
                        yield found

    def compute_stamp(self, path: str) -> str:
        """Of an entry: of the file itself, and of all that is written about it."""
        entry = self.listing.get(path)
        text = f"{entry.etag if entry else ''} {self.captions.compute_stamp(path)}"
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def load_captions(self, path: str) -> FileCaptions:
        return replace(self.captions.load_captions(path), stamp=self.compute_stamp(path))

    def _identify_entry(self, entry: Entry, on_skip: SkipCallback) -> DiscoveredFile | None:
        path = self.to_catalog_path(entry.path)
        unsupported = unsupported_reason(entry.name)
        if unsupported:
            on_skip(SkippedFile(display_path(path), "unsupported", unsupported))
            return None
        kind = detect_kind(entry.name)
        if kind is None and not get_extension(entry.name) and entry.size:
            magic = self._sniff_entry(entry)
            if magic == "raw":
                on_skip(SkippedFile(display_path(path), "unsupported", RAW_ADVICE))
            kind = "image" if magic and magic != "raw" else None
        return DiscoveredFile(path, entry.size, entry.mtime_ns, kind) if kind else None

    def _sniff_entry(self, entry: Entry) -> str | None:
        try:
            return sniff_format(self.fetch(entry, SNIFF_BYTES))
        except UnusableFileError:
            return None


@dataclass(frozen=True, slots=True)
class ListedCaptionFiles:
    """Caption files among the entries of a listing."""

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
            raise ValueError("it is no longer there")
        try:
            return self.fetch(entry, 1 << 30) if entry.size else b""
        except UnusableFileError as error:
            raise ValueError(error.detail) from None

    def display_path(self, path: str) -> str:
        return self.to_catalog_path(path)


def make_listed_files(
    listing: Listing,
    fetch: Fetch,
    to_catalog_path: Callable[[str], str],
    options: SourceOptions,
    on_skip: SkipCallback | None,
) -> ListedFiles:
    """`skip` is told of caption files that cannot be read."""
    files = ListedCaptionFiles(listing, fetch, to_catalog_path)
    captions = CaptionResolver([Path("/")], on_skip or (lambda _: None), options.manifest, files)
    return ListedFiles(listing, fetch, to_catalog_path, captions)


def guess_kind(name: str) -> FileKind:
    """What a list of pictures means by a name: a picture, unless it is a text's."""
    return detect_kind(name) or "image"


def too_large_error(size: int, limit: int) -> UnusableFileError:
    return UnusableFileError(
        "too-large", f"{size:,} bytes; the limit is {limit:,}: raise it with --max-bytes"
    )


def check_size(size: int, limit: int) -> int:
    """`size` if a file of so many bytes is read; raises `Undecodable`."""
    if size == 0:
        raise UnusableFileError("empty", "0 bytes")
    if size > limit:
        raise too_large_error(size, limit)
    return size


def _is_hidden_folder(folder: str) -> bool:
    return any(is_ignored(part) for part in folder.split("/") if part)
