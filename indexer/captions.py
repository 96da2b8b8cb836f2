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

from indexer.errors import IndexerError
from indexer.manifest import Manifest, Row, is_manifest, notes, parse_manifest, stamp
from indexer.sidecars import Notes, owners, parse_sidecar
from indexer.skips import Undecodable
from indexer.types import Caption, Skip
from indexer.walk import printable
from indexer.wording import MAX_META, merge

FOLDERS = 256  # listings kept


@dataclass(frozen=True, slots=True)
class Described:
    """All that was written about a file. `stamp` is "" where there is nothing."""

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    meta: dict[str, str | int | float] = field(default_factory=dict)
    stamp: str = ""


class Shelf(Protocol):
    """Where caption files are: on the disk, in an archive, in a bucket."""

    def sidecars(self, path: str) -> list[tuple[str, str]]:
        """The names of those of a picture, each with what changes when it does."""
        ...

    def manifests(self, folder: str) -> list[str]:
        """The paths of the tables in a folder."""
        ...

    def read(self, file: str) -> bytes:
        """A caption file's bytes, none for an empty one; raises `ValueError`."""
        ...

    def shown(self, path: str) -> str:
        """A path as the user knows it."""
        ...


class CaptionSource:
    """Sidecars and manifests of the files under `roots`, for one run.

    Manifests count in a file's folder and in those above it, up to the root. One `manifest` that
    the user names counts for all files: its rows may name them by path or by bare file name.
    A caption file that cannot be read goes to `skip`, and the picture does without it.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        skip: Callable[[Skip], None],
        manifest: Path | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        self._skip = skip
        self._refused: set[str] = set()
        self._roots = {_folder_of(os.path.realpath(root)) for root in roots}
        self._shelf = shelf or Disk()
        self._read = lru_cache(maxsize=FOLDERS)(self._manifest)
        self._named = _named(manifest) if manifest else None

    def stamp(self, path: str) -> str:
        """What changes when something written about `path` does; reads no sidecar."""
        sidecars = self._sidecars(path)
        rows = self._rows(path)
        if not sidecars and not rows:
            return ""
        text = repr(([s for _, s in sidecars], stamp(rows) if rows else ""))
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()

    def captions_for(self, path: str) -> Described:
        """Read what is written about the file at `path`."""
        folder, name = os.path.split(path)
        found = [self._sidecar(os.path.join(folder, n), name) for n, _ in self._sidecars(path)]
        rows = self._rows(path)
        if rows:
            found.append(notes(rows, name))
        meta = {key: value for note in found for key, value in note.meta.items()}
        return Described(
            merge(c for note in found for c in note.captions),
            tuple(dict.fromkeys(tag for note in found for tag in note.tags)),
            dict(list(meta.items())[:MAX_META]),
            self.stamp(path),
        )

    def _sidecars(self, path: str) -> list[tuple[str, str]]:
        return self._shelf.sidecars(path)

    def _rows(self, path: str) -> list[Row]:
        rows: list[Row] = []
        folder, name = os.path.split(path)
        if self._named:
            file, manifest = self._named
            relative = os.path.relpath(path, os.path.dirname(file))
            within = [os.path.relpath(path, root) for root in sorted(self._roots)]
            rows += manifest.find(self._shelf.shown(path), path, relative, *within, name)
        inner = name
        while True:
            for file in self._shelf.manifests(folder):
                if not self._named or file != self._named[0]:
                    rows += self._read(file).find(inner)
            parent, last = os.path.split(folder)
            if folder in self._roots or parent == folder:
                return rows
            folder, inner = parent, f"{last}/{inner}"

    def _manifest(self, file: str) -> Manifest:
        try:
            return parse_manifest(os.path.basename(file), self._shelf.read(file))
        except ValueError as error:
            self._refuse(file, str(error))
            return Manifest({})

    def _sidecar(self, file: str, picture: str) -> Notes:
        try:
            return parse_sidecar(os.path.basename(file), self._shelf.read(file), picture)
        except ValueError as error:
            self._refuse(file, str(error))
            return Notes()

    def _refuse(self, file: str, detail: str) -> None:
        if file not in self._refused:  # a manifest may be read again
            self._refused.add(file)
            self._skip(Skip(printable(self._shelf.shown(file)), "bad-sidecar", detail))


@dataclass(frozen=True, slots=True)
class _Folder:
    """What one listing tells: picture -> its sidecars with their stamps, and the manifest files."""

    sidecars: dict[str, list[tuple[str, str]]]
    manifests: list[str]


class Disk:
    """The shelf of the folders on this machine."""

    def __init__(self) -> None:
        self._list = lru_cache(maxsize=FOLDERS)(_listed)

    def sidecars(self, path: str) -> list[tuple[str, str]]:
        folder, name = os.path.split(path)
        return self._list(folder).sidecars.get(name, [])

    def manifests(self, folder: str) -> list[str]:
        return self._list(folder).manifests

    def read(self, file: str) -> bytes:
        from indexer.decode import Limits, read

        try:
            return read(file, Limits(bytes=1 << 30))
        except Undecodable as error:
            if error.reason == "empty":
                return b""
            raise ValueError(error.detail) from None

    def shown(self, path: str) -> str:
        return path


def _listed(folder: str) -> _Folder:
    try:
        with os.scandir(folder) as listing:
            entries = {entry.name: entry for entry in listing if entry.name[0] != "."}
    except OSError:
        return _Folder({}, [])  # the walk reports it
    belong = owners(entries)
    marks = {n: _mark(entries[n]) for n in {n for notes in belong.values() for n in notes}}
    sidecars = {picture: [(n, marks[n]) for n in names] for picture, names in belong.items()}
    manifests = sorted(os.path.join(folder, name) for name in entries if is_manifest(name))
    return _Folder(sidecars, manifests)


def _named(manifest: Path) -> tuple[str, Manifest]:
    """The table that the user named, and its path; one for all sources of a run."""
    path = os.path.realpath(manifest)
    try:
        status = os.stat(path)
        return path, _parsed(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError as error:
        why = str(error)
    raise IndexerError(f"the manifest {printable(str(manifest))}: {why}")


@lru_cache(maxsize=1)
def _parsed(path: str, mtime_ns: int, size: int) -> Manifest:
    return parse_manifest(os.path.basename(path), Disk().read(path))


def _folder_of(root: str) -> str:
    return root if os.path.isdir(root) else os.path.dirname(root)


def _mark(entry: os.DirEntry[str]) -> str:
    try:
        status = entry.stat()
    except OSError:
        return f"{entry.name} unreadable"
    return f"{entry.name} {status.st_mtime_ns} {status.st_size}"
