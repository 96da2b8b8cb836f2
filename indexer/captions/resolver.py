"""What people wrote about a file: its sidecars and the rows of manifests, found cheaply."""

# Paths are strings here, as in walk.py.
# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH120

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from indexer.captions.manifest import (
    Manifest,
    Row,
    hash_rows,
    is_manifest,
    parse_caption_rows,
    parse_manifest,
)
from indexer.captions.normalize import MAX_METADATA_ITEMS, merge_captions
from indexer.captions.sidecar import CaptionData, match_sidecars, parse_sidecar
from indexer.errors import IndexerError
from indexer.paths import display_path
from indexer.skip_reasons import UnusableFileError
from indexer.types import Caption, SkippedFile

MAX_CACHED_FOLDERS = 256  # listings kept


@dataclass(frozen=True, slots=True)
class FileCaptions:
    """All that was written about a file. `stamp` is "" where there is nothing."""

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    meta: dict[str, str | int | float] = field(default_factory=dict)
    stamp: str = ""


class CaptionFiles(Protocol):
    """Where caption files are: on the disk, in an archive, in a bucket."""

    def list_sidecars(self, path: str) -> list[tuple[str, str]]:
        """The names of those of a picture, each with what changes when it does."""
        ...

    def list_manifests(self, folder: str) -> list[str]:
        """The paths of the tables in a folder."""
        ...

    def read(self, file: str) -> bytes:
        """A caption file's bytes, none for an empty one; raises `ValueError`."""
        ...

    def display_path(self, path: str) -> str:
        """A path as the user knows it."""
        ...


class CaptionResolver:
    """Sidecars and manifests of the files under `roots`, for one run.

    Manifests count in a file's folder and in those above it, up to the root. One `manifest` that
    the user names counts for all files: its rows may name them by path or by bare file name.
    A caption file that cannot be read goes to `skip`, and the picture does without it.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        on_skip: Callable[[SkippedFile], None],
        manifest: Path | None = None,
        files: CaptionFiles | None = None,
    ) -> None:
        self._on_skip = on_skip
        self._reported: set[str] = set()
        self._roots = {_containing_folder(os.path.realpath(root)) for root in roots}
        self._files = files or LocalCaptionFiles()
        self._read_manifest = lru_cache(maxsize=MAX_CACHED_FOLDERS)(self._parse_manifest)
        self._named_manifest = _load_named_manifest(manifest) if manifest else None

    def compute_stamp(self, path: str) -> str:
        """What changes when something written about `path` does; reads no sidecar."""
        sidecars = self._list_sidecars(path)
        rows = self._find_rows(path)
        if not sidecars and not rows:
            return ""
        text = repr(([s for _, s in sidecars], hash_rows(rows) if rows else ""))
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def load_captions(self, path: str) -> FileCaptions:
        """Read what is written about the file at `path`."""
        folder, name = os.path.split(path)
        found = [
            self._parse_sidecar(os.path.join(folder, n), name) for n, _ in self._list_sidecars(path)
        ]
        rows = self._find_rows(path)
        if rows:
            found.append(parse_caption_rows(rows, name))
        meta = {key: value for part in found for key, value in part.meta.items()}
        return FileCaptions(
            merge_captions(c for part in found for c in part.captions),
            tuple(dict.fromkeys(tag for part in found for tag in part.tags)),
            dict(list(meta.items())[:MAX_METADATA_ITEMS]),
            self.compute_stamp(path),
        )

    def _list_sidecars(self, path: str) -> list[tuple[str, str]]:
        return self._files.list_sidecars(path)

    def _find_rows(self, path: str) -> list[Row]:
        rows: list[Row] = []
        folder, name = os.path.split(path)
        if self._named_manifest:
            file, manifest = self._named_manifest
            relative = os.path.relpath(path, os.path.dirname(file))
            relative_to_roots = [os.path.relpath(path, root) for root in sorted(self._roots)]
            rows += manifest.find(
                self._files.display_path(path), path, relative, *relative_to_roots, name
            )
        relative_name = name
        while True:
            for file in self._files.list_manifests(folder):
                if not self._named_manifest or file != self._named_manifest[0]:
                    rows += self._read_manifest(file).find(relative_name)
            parent, last = os.path.split(folder)
            if folder in self._roots or parent == folder:
                return rows
            folder, relative_name = parent, f"{last}/{relative_name}"

    def _parse_manifest(self, file: str) -> Manifest:
        try:
            return parse_manifest(os.path.basename(file), self._files.read(file))
        except ValueError as error:
            self._report_skip(file, str(error))
            return Manifest({})

    def _parse_sidecar(self, file: str, image_name: str) -> CaptionData:
        try:
            return parse_sidecar(os.path.basename(file), self._files.read(file), image_name)
        except ValueError as error:
            self._report_skip(file, str(error))
            return CaptionData()

    def _report_skip(self, file: str, detail: str) -> None:
        if file not in self._reported:  # a manifest may be read again
            self._reported.add(file)
            self._on_skip(
                SkippedFile(display_path(self._files.display_path(file)), "bad-sidecar", detail)
            )


@dataclass(frozen=True, slots=True)
class _FolderListing:
    """What one listing tells: picture -> its sidecars with their stamps, and the manifest files."""

    sidecars: dict[str, list[tuple[str, str]]]
    manifests: list[str]


class LocalCaptionFiles:
    """The shelf of the folders on this machine."""

    def __init__(self) -> None:
        self._list_folder = lru_cache(maxsize=MAX_CACHED_FOLDERS)(_list_folder)

    def list_sidecars(self, path: str) -> list[tuple[str, str]]:
        folder, name = os.path.split(path)
        return self._list_folder(folder).sidecars.get(name, [])

    def list_manifests(self, folder: str) -> list[str]:
        return self._list_folder(folder).manifests

    def read(self, file: str) -> bytes:
        from embedder.images.decode import DecodeLimits, read_file

        try:
            return read_file(file, DecodeLimits(max_bytes=1 << 30))
        except UnusableFileError as error:
            if error.reason == "empty":
                return b""
            raise ValueError(error.detail) from None

    def display_path(self, path: str) -> str:
        return path


def _list_folder(folder: str) -> _FolderListing:
    try:
        with os.scandir(folder) as listing:
            entries = {entry.name: entry for entry in listing if entry.name[0] != "."}
    except OSError:
        return _FolderListing({}, [])  # the walk reports it
    sidecars_by_image = match_sidecars(entries)
    stamps = {
        n: _build_stamp(entries[n])
        for n in {n for notes in sidecars_by_image.values() for n in notes}
    }
    sidecars = {
        picture: [(n, stamps[n]) for n in names] for picture, names in sidecars_by_image.items()
    }
    manifests = sorted(os.path.join(folder, name) for name in entries if is_manifest(name))
    return _FolderListing(sidecars, manifests)


def _load_named_manifest(manifest: Path) -> tuple[str, Manifest]:
    """The table that the user named, and its path; one for all sources of a run."""
    path = os.path.realpath(manifest)
    try:
        status = os.stat(path)
        return path, _parse_named_manifest(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = str(error)
    raise IndexerError(f"the manifest {display_path(str(manifest))}: {why}")


@lru_cache(maxsize=1)
def _parse_named_manifest(path: str, mtime_ns: int, size: int) -> Manifest:
    return parse_manifest(os.path.basename(path), LocalCaptionFiles().read(path))


def _containing_folder(root: str) -> str:
    return root if os.path.isdir(root) else os.path.dirname(root)


def _build_stamp(entry: os.DirEntry[str]) -> str:
    try:
        status = entry.stat()
    except OSError:
        return f"{entry.name} unreadable"
    return f"{entry.name} {status.st_mtime_ns} {status.st_size}"
