"""Finds what people wrote about a file: its sidecars and the rows of manifests."""

# Paths are strings here, as in sources/local.py.
# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH120

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from embedder.images.decode import DecodeLimits, read_file
from indexer.captions.manifest import (
    MANIFEST_READERS,
    Manifest,
    hash_rows,
    parse_caption_rows,
    parse_manifest,
)
from indexer.captions.normalize import FileCaptions, Row, merge_file_captions
from indexer.captions.sidecar import parse_sidecar
from indexer.captions.sidecar_names import match_sidecars
from indexer.errors import IndexerError, UnusableFileError
from indexer.paths import display_path, leads_outside
from indexer.types import SkipCallback, SkippedFile

T = TypeVar("T")

MANIFEST_STEMS = frozenset({"captions", "metadata", "manifest"})
PARSER_VERSION = 2  # raised where more is taken from a file: an ingest reads it again
MAX_CACHED_FOLDERS = 256
MAX_FILE_BYTES = 1 << 30


class CaptionResolver:
    """Finds and parses the sidecars and manifest rows of the files under `roots`, for one run.

    Manifests apply to their folder and those below, up to the root. One `manifest` that the user
    names applies to all files: its rows may name them by path or by bare file name. A caption file
    that cannot be read is reported to `on_skip`, and its image goes without it. So is a link that
    leads out of the folders `within`, if they are given.

    It reads folders on this machine; a subclass lists and reads the files of another place.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        on_skip: SkipCallback | None = None,
        manifest: Path | None = None,
        within: Sequence[str] | None = None,
    ) -> None:
        self._within = within
        self._on_skip = on_skip or (lambda _: None)
        self._reported: set[str] = set()
        real_roots = map(os.path.realpath, roots)
        self._roots = {r if os.path.isdir(r) else os.path.dirname(r) for r in real_roots}
        self._list_folder = lru_cache(maxsize=MAX_CACHED_FOLDERS)(_list_folder)
        self._read_manifest = lru_cache(maxsize=MAX_CACHED_FOLDERS)(
            lambda file: self._parse(file, parse_manifest, Manifest({}))
        )
        self._named_manifest = _load_named_manifest(manifest) if manifest else None

    def list_sidecars(self, path: str) -> list[tuple[str, str]]:
        """Return the names of an image's sidecars, each with a stamp that changes when it does."""
        folder, name = os.path.split(path)
        return self._list_folder(folder)[0].get(name, [])

    def list_manifests(self, folder: str) -> list[str]:
        """Return the paths of the manifests in a folder."""
        return self._list_folder(folder)[1]

    def read_file(self, file: str) -> bytes:
        """Return a caption file's bytes, b"" for an empty one; raises `ValueError`."""
        if leads_outside(file, self._within):
            raise ValueError("it leads out of the folders that may be read (library_roots)")
        return _read_caption_file(file)

    def to_catalog_path(self, path: str) -> str:
        """Return a path as the catalog and the user know it."""
        return path

    def compute_stamp(self, path: str) -> str:
        """Return what changes when something written about `path` does; reads no sidecar."""
        sidecars = self.list_sidecars(path)
        rows = self._find_rows(path)
        if not sidecars and not rows:
            return ""
        stamps = [stamp for _, stamp in sidecars]
        text = repr((PARSER_VERSION, stamps, hash_rows(rows) if rows else ""))
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def load_captions(self, path: str) -> FileCaptions:
        """Read everything written about the file at `path`."""
        folder, name = os.path.split(path)
        parse = partial(parse_sidecar, image_name=name)
        parts = [
            self._parse(os.path.join(folder, sidecar), parse, FileCaptions())
            for sidecar, _ in self.list_sidecars(path)
        ]
        rows = self._find_rows(path)
        if rows:
            parts.append(parse_caption_rows(rows, name))
        return merge_file_captions(parts, self.compute_stamp(path)) if parts else FileCaptions()

    def _find_rows(self, path: str) -> list[Row]:
        rows: list[Row] = []
        folder, name = os.path.split(path)
        if self._named_manifest:
            file, manifest = self._named_manifest
            relative = os.path.relpath(path, os.path.dirname(file))
            from_roots = [os.path.relpath(path, root) for root in sorted(self._roots)]
            shown = self.to_catalog_path(path)
            rows += manifest.find(shown, path, relative, *from_roots, name)
        relative_name, whole_path = name, self.to_catalog_path(path)
        while True:
            for file in self.list_manifests(folder):
                if not self._named_manifest or file != self._named_manifest[0]:
                    rows += self._read_manifest(file).find(relative_name, whole_path)
            parent, last = os.path.split(folder)
            if folder in self._roots or parent == folder:
                return rows
            folder, relative_name = parent, f"{last}/{relative_name}"

    def _parse(self, file: str, parse: Callable[[str, bytes], T], default: T) -> T:
        """Read and parse a caption file; report it and return `default` if that fails."""
        try:
            return parse(os.path.basename(file), self.read_file(file))
        except ValueError as error:
            if file not in self._reported:  # a manifest may be read again
                self._reported.add(file)
                shown = display_path(self.to_catalog_path(file))
                self._on_skip(SkippedFile(shown, "bad-sidecar", str(error)))
            return default


def is_manifest(name: str) -> bool:
    """Whether a file of this name in a folder is a table of captions."""
    stem, _, extension = name.lower().rpartition(".")
    return stem in MANIFEST_STEMS and extension in MANIFEST_READERS


def _list_folder(folder: str) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """Return the sidecars (name, stamp) of each image in a folder, and its manifests."""
    try:
        with os.scandir(folder) as listing:
            entries = {entry.name: entry for entry in listing if entry.name[0] != "."}
    except OSError:
        return {}, []  # the walk reports it
    sidecars = {
        image: [(name, _stamp_entry(entries[name])) for name in names]
        for image, names in match_sidecars(entries).by_image.items()
    }
    return sidecars, sorted(os.path.join(folder, name) for name in entries if is_manifest(name))


def _stamp_entry(entry: os.DirEntry[str]) -> str:
    try:
        status = entry.stat()  # the system is asked once for each entry
    except OSError:
        return f"{entry.name} unreadable"
    return f"{entry.name} {status.st_mtime_ns} {status.st_size}"


def _read_caption_file(path: str) -> bytes:
    try:
        return read_file(path, DecodeLimits(max_bytes=MAX_FILE_BYTES))
    except UnusableFileError as error:
        if error.reason == "empty":
            return b""
        raise ValueError(error.detail) from None


def _load_named_manifest(manifest: Path) -> tuple[str, Manifest]:
    """Return the path and the table of the manifest that the user named."""
    path = os.path.realpath(manifest)
    try:
        status = os.stat(path)
        return path, _parse_named_manifest(path, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise IndexerError(f"the manifest {display_path(str(manifest))}: {reason}")


@lru_cache(maxsize=1)
def _parse_named_manifest(path: str, mtime_ns: int, size: int) -> Manifest:
    """Parse it once for all sources of a run."""
    return parse_manifest(os.path.basename(path), _read_caption_file(path))
