"""Folders -> the files in them that hold a picture or a text, in a fixed order, as a stream."""

# Paths are strings here, as the system spells them: a Path for each of a million files is slow.
# ruff: noqa: PTH112, PTH113, PTH116, PTH119, PTH120, PTH206

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.images.formats import (
    RAW_ADVICE,
    SNIFF_BYTES,
    FileKind,
    detect_kind,
    sniff_format,
    unsupported_reason,
)
from indexer.captions.sidecar import find_sidecars
from indexer.errors import IndexerError
from indexer.paths import display_path
from indexer.skip_reasons import SkipReason
from indexer.types import SkippedFile

IGNORED_NAMES = frozenset(
    {"@eaDir", "__MACOSX", "Thumbs.db", "$RECYCLE.BIN", "System Volume Information"}
)

SkipCallback = Callable[[SkippedFile], None]


@dataclass(frozen=True, slots=True)
class DiscoveredFile:
    """A file worth opening. `path` is absolute, as the system spells it (surrogateescape)."""

    path: str
    size: int
    mtime_ns: int
    kind: FileKind


def walk(
    roots: Sequence[Path],
    on_skip: SkipCallback,
    *,
    follow_links: bool = False,
    visited: set[tuple[int, int]] | None = None,
) -> Iterator[DiscoveredFile]:
    """The pictures and texts under `roots`, each file once, folder by folder, sorted by name.

    Hidden files, known junk, sidecars and files that are neither by name nor by content a picture
    or a text are passed over in silence; what cannot be read goes to `skip`. Links to files are
    followed, links to folders with `follow_links` only; the folders of other walks that are in
    `visited` are not looked into again then. Raises `IndexerError` before anything else happens
    where a root does not exist.
    """
    start_paths = distinct_roots(roots)
    return _Walker(on_skip, follow_links, visited).walk(start_paths)


def distinct_roots(roots: Sequence[Path]) -> list[str]:
    """The real paths of `roots`, sorted, without those that a walk of another reaches anyway."""
    real = sorted({resolve_root(root) for root in roots})
    return [path for path in real if not any(_walk_reaches(other, path) for other in real)]


def is_path_available(root: str) -> bool:
    """Whether `root` is a file, or a folder with anything in it."""
    try:
        if os.path.isfile(root):
            return True
        with os.scandir(root) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def resolve_root(root: Path) -> str:
    try:
        path = os.path.realpath(root.expanduser(), strict=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            reason = "does not exist"
        else:
            reason = getattr(error, "strerror", None) or str(error)
        raise IndexerError(
            f"{display_path(str(root))}: {reason}; check the path, and that its disk is mounted"
        ) from None
    return path


def _walk_reaches(outer: str, inner: str) -> bool:
    """Whether walking `outer` comes to `inner`; both are real paths, so no link lies between."""
    prefix = outer if outer.endswith(os.sep) else outer + os.sep
    if outer == inner or not inner.startswith(prefix):
        return False
    return not any(is_ignored(part) for part in inner[len(prefix) :].split(os.sep))


def is_ignored(name: str) -> bool:
    """Whether a file or a folder called so is passed over in silence."""
    return name.startswith(".") or name in IGNORED_NAMES


class _Walker:
    """One walk: an explicit stack of folders, so that depth costs no recursion."""

    def __init__(
        self, on_skip: SkipCallback, follow_links: bool, visited: set[tuple[int, int]] | None
    ) -> None:
        self.on_skip, self.follow_links = on_skip, follow_links
        # (device, inode) of folders; if following only
        self.visited: set[tuple[int, int]] = set() if visited is None else visited

    def walk(self, start_paths: Sequence[str]) -> Iterator[DiscoveredFile]:
        for start in start_paths:
            if not os.path.isdir(start):
                yield from self.walk_file(start)
                continue
            stack = [start]
            while stack:
                folder = stack.pop()
                if self.is_first_visit(folder):
                    folders: list[str] = []
                    yield from self.walk_folder(folder, folders)
                    stack.extend(reversed(folders))

    def walk_file(self, path: str) -> Iterator[DiscoveredFile]:
        """A file that the user named: it is never passed over in silence."""
        name = os.path.basename(path)
        try:
            status = os.stat(path)
        except OSError as error:
            return self.report_skip(path, "unreadable", error.strerror or str(error))
        found = self.identify_file(path, name, status)
        if found:
            yield found
        elif stat.S_ISREG(status.st_mode) and not unsupported_reason(name):
            self.report_skip(path, "unsupported", "neither a picture nor a text")

    def walk_folder(self, path: str, folders: list[str]) -> Iterator[DiscoveredFile]:
        """The files of one folder; its folders are added to `folders`."""
        try:
            with os.scandir(path) as listing:
                entries = sorted(
                    (e for e in listing if not is_ignored(e.name)), key=lambda entry: entry.name
                )
        except OSError as error:
            return self.report_skip(path, "unreadable", f"folder: {error.strerror or error}")
        sidecars = find_sidecars(entry.name for entry in entries)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name not in sidecars:
                yield from self.check_entry(entry, folders)

    def check_entry(self, entry: os.DirEntry[str], folders: list[str]) -> Iterator[DiscoveredFile]:
        try:
            status = entry.stat()
        except OSError as error:
            if detect_kind(entry.name):
                loop = error.errno == errno.ELOOP
                detail = "a link to itself" if loop else _describe_os_error(entry, error)
                self.report_skip(entry.path, "link-cycle" if loop else "unreadable", detail)
            return
        if stat.S_ISDIR(status.st_mode):  # a link to a folder
            if self.follow_links and not self.is_link_cycle(entry.path):
                folders.append(entry.path)
            return
        found = self.identify_file(entry.path, entry.name, status)
        if found:
            yield found

    def identify_file(self, path: str, name: str, status: os.stat_result) -> DiscoveredFile | None:
        advice, kind = unsupported_reason(name), detect_kind(name)
        if advice:
            self.report_skip(path, "unsupported", advice)
            return None
        if not stat.S_ISREG(status.st_mode):
            if kind:
                self.report_skip(
                    path, "not-a-regular-file", f"{_describe_file_type(status)}, not a file"
                )
            return None
        if kind is None:
            magic = sniff_format(_read_head(path))
            if magic == "raw":
                self.report_skip(path, "unsupported", RAW_ADVICE)
                return None
            kind = "image" if magic else None
        return DiscoveredFile(path, status.st_size, status.st_mtime_ns, kind) if kind else None

    def is_first_visit(self, folder: str) -> bool:
        """Whether this walk sees `folder` for the first time; links can lead to it twice."""
        if not self.follow_links:
            return True
        try:
            status = os.stat(folder)
        except OSError:
            return True  # listing it will fail too, and say so
        key = (status.st_dev, status.st_ino)
        new = key not in self.visited
        self.visited.add(key)
        return new

    def is_link_cycle(self, link: str) -> bool:
        target = os.path.realpath(link)
        if not (os.path.realpath(os.path.dirname(link)) + os.sep).startswith(
            target.rstrip(os.sep) + os.sep
        ):
            return False
        self.report_skip(
            link, "link-cycle", f"a link back to {display_path(target)}, which holds it"
        )
        return True

    def report_skip(self, path: str, reason: SkipReason, detail: str) -> None:
        self.on_skip(SkippedFile(display_path(path), reason, detail))


def _describe_os_error(entry: os.DirEntry[str], error: OSError) -> str:
    if entry.is_symlink() and error.errno == errno.ENOENT:
        return "a link to a file that is not there"
    return error.strerror or str(error)


def _describe_file_type(status: os.stat_result) -> str:
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(status.st_mode), "a device")


def _read_head(path: str) -> bytes:
    """The first bytes of a file; b"" where they cannot be had. Never waits on a pipe."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, SNIFF_BYTES)
    except OSError:
        return b""
    finally:
        os.close(file)
