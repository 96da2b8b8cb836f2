"""Finds what people wrote about a file: its sidecars and the rows of manifests."""

# Paths are strings here, as in sources/local.py.
# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH120

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from embedder.images.decode import DecodeLimits, read_file
from indexer.captions.apple import STEM_PATTERN
from indexer.captions.manifest import (
    MANIFEST_READERS,
    Manifest,
    hash_rows,
    parse_caption_rows,
    parse_manifest,
)
from indexer.captions.match_log import MatchLog
from indexer.captions.matching import Match, fold_name
from indexer.captions.normalize import FileCaptions, Row, merge_file_captions
from indexer.captions.sidecar import parse_sidecar
from indexer.captions.sidecar_names import SidecarMatches, match_sidecars
from indexer.errors import IndexerError, UnusableFileError
from indexer.paths import display_path, is_within, leads_outside
from indexer.types import Note, SkipCallback, SkippedFile

T = TypeVar("T")

MANIFEST_STEMS = frozenset({"captions", "metadata", "manifest"})
PARSER_VERSION = 2  # raised where more is taken from a file: an ingest reads it again
MAX_CACHED_FOLDERS = 256
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class CaptionFolder:
    """What a folder has for captions.

    Attributes:
        sidecars: Image -> its sidecars (name, stamp).
        manifests: Paths of the tables.
        rivals: Names that differ in letter case or the form of Unicode alone.
    """

    sidecars: Mapping[str, list[tuple[str, str]]]
    manifests: Sequence[str]
    rivals: frozenset[str]


class CaptionResolver:
    """Finds and parses the sidecars and manifest rows of the files under `roots`, for one run.

    Manifests apply to their folder and those below, up to the root, or to the outermost of `above`:
    roots of earlier runs. One `manifest` that the user names applies to all files: its rows may
    name them by path or by bare file name. A caption file that cannot be read is reported to
    `on_skip`, and its image goes without it. So is a link that leads out of the folders `within`,
    if they are given.

    It reads folders on this machine; a subclass lists and reads the files of another place.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        on_skip: SkipCallback | None = None,
        manifest: Path | None = None,
        within: Sequence[str] | None = None,
        above: Sequence[str] = (),
    ) -> None:
        self._within = within
        self._on_skip = on_skip or (lambda _: None)
        self._reported: set[str] = set()
        self._log = MatchLog()
        real_roots = map(os.path.realpath, roots)
        self._roots = {r if os.path.isdir(r) else os.path.dirname(r) for r in real_roots}
        self._above = self._roots | set(above)
        self._find_top = lru_cache(maxsize=MAX_CACHED_FOLDERS)(self._find_outermost_root)
        self._list_folder = lru_cache(maxsize=MAX_CACHED_FOLDERS)(self._scan_folder)
        self._read_manifest = lru_cache(maxsize=MAX_CACHED_FOLDERS)(
            lambda file: self._parse(file, parse_manifest, Manifest({}))
        )
        self._named_manifest = _load_named_manifest(manifest) if manifest else None
        if self._named_manifest:
            self._log.add_table(self._named_manifest[0])

    def list_sidecars(self, path: str) -> list[tuple[str, str]]:
        """Return the names of an image's sidecars, each with a stamp that changes when it does."""
        folder, name = os.path.split(path)
        return self._list_folder(folder).sidecars.get(name, [])

    def list_manifests(self, folder: str) -> Sequence[str]:
        """Return the paths of the manifests in a folder."""
        return self._list_folder(folder).manifests

    def has_rival(self, path: str) -> bool:
        """Whether another name in its folder differs in letter case or form of Unicode alone."""
        folder, name = os.path.split(path)
        return name in self._list_folder(folder).rivals

    def exists(self, folder: str, name: str) -> bool:
        """Whether there is a file `name`, perhaps with folders in front, in `folder`."""
        return os.path.lexists(os.path.join(folder, name.replace("\0", "")))

    def iterate_names(self) -> Iterator[str]:
        """Yield the names of all files under the roots, without their folders."""
        for root in self._roots:
            for _, folders, names in os.walk(root):
                folders[:] = [folder for folder in folders if not folder.startswith(".")]
                yield from names

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

    def add_table(self, file: str) -> None:
        """Note that there is a table, so that rows of it that fit no file are reported."""
        self._log.add_table(file)

    def list_notes(self) -> list[Note]:
        """Return what people should know about the captions of all files looked up so far."""

        def read(file: str) -> Manifest:
            named = self._named_manifest
            return named[1] if named and file == named[0] else self._read_manifest(file)

        def exists(file: str, name: str) -> bool:
            return self.exists(os.path.dirname(file), name)

        notes = self._log.iterate_notes(read, exists)
        return [Note(display_path(self.to_catalog_path(note.path)), note.text) for note in notes]

    def _find_rows(self, path: str) -> list[Row]:
        rows: list[Row] = []
        folder, name = os.path.split(path)
        shown, top = self.to_catalog_path(path), self._find_top(folder)
        named = self._named_manifest
        if named:
            rows += self._find_named_rows(path, shown, *named)
        relative_name = name
        while True:
            for file in self.list_manifests(folder):
                if not named or file != named[0]:
                    manifest = self._read_manifest(file)
                    match = manifest.find((relative_name, shown), folder)
                    rows += self._accept(file, manifest, match, path)
                    if any(is_within(folder, root) for root in self._roots):
                        self._log.add_table(file)
            parent, last = os.path.split(folder)
            if folder in {top, parent}:
                return rows
            folder, relative_name = parent, f"{last}/{relative_name}"

    def _find_named_rows(self, path: str, shown: str, file: str, manifest: Manifest) -> list[Row]:
        folder, name = os.path.dirname(file), os.path.basename(path)
        relative = [os.path.relpath(path, root) for root in (folder, *sorted(self._roots))]
        match = manifest.find((*relative, shown, path), folder)
        if not match.names:
            match = manifest.find((name,))
            if match.name and self._name_counts[fold_name(name)] > 1:
                self._log.add_ambiguous(file, match.name, ["several files of this name"])
                return []
        return self._accept(file, manifest, match, path)

    def _accept(self, file: str, manifest: Manifest, match: Match, path: str) -> list[Row]:
        """Return the rows of a match, and note what it is; none where it is not clear."""
        name = match.name
        if name is None:
            if match.names:
                self._log.add_ambiguous(file, os.path.basename(path), match.names)
                for candidate in match.names:
                    self._log.add_used(file, candidate)
            return []
        written = manifest.written.get(name, name)
        how = match.how
        if how == "exact" and not written.replace("\\", "/").endswith(os.path.basename(path)):
            how = "form"
        if how in {"form", "case"} and self.has_rival(path):
            return []  # the other file has this name, or has as little of it
        self._log.add_used(file, name)
        if how != "exact":
            self._log.add_inexact(file, written, os.path.basename(path), how)
        return manifest.rows[name]

    @cached_property
    def _name_counts(self) -> Counter[str]:
        return Counter(map(fold_name, self.iterate_names()))

    def _find_outermost_root(self, folder: str) -> str | None:
        roots = (root for root in self._above if is_within(folder, root))
        return min(roots, key=len, default=None)

    def _scan_folder(self, folder: str) -> CaptionFolder:
        try:
            with os.scandir(folder) as listing:
                entries = {entry.name: entry for entry in listing if entry.name[0] != "."}
        except OSError:
            return CaptionFolder({}, (), frozenset())  # the walk reports it
        keys = Counter(map(fold_name, entries))
        matches = match_sidecars(entries)
        self.log_sidecars(folder, matches)
        return CaptionFolder(
            sidecars={
                image: [(name, _stamp_entry(entries[name])) for name in names]
                for image, names in matches.by_image.items()
            },
            manifests=sorted(os.path.join(folder, name) for name in entries if is_manifest(name)),
            rivals=frozenset(name for name in entries if keys[fold_name(name)] > 1),
        )

    def log_sidecars(self, folder: str, matches: SidecarMatches) -> None:
        """Note the sidecars in a folder whose names are not quite those of their images."""
        for sidecar, image, how in matches.inexact:
            self._log.add_inexact(folder, sidecar, image, how)
        for sidecar, images in matches.ambiguous.items():
            self._log.add_ambiguous(folder, sidecar, images)

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
    is_table = stem in MANIFEST_STEMS or bool(STEM_PATTERN.fullmatch(stem))
    return is_table and extension in MANIFEST_READERS


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
