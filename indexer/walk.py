"""Folders -> the files in them that hold a picture or a text, in a fixed order, as a stream."""

# Paths are strings here, as the system spells them: a Path for each of a million files is slow.
# ruff: noqa: PTH112, PTH113, PTH116, PTH119, PTH120, PTH206

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import IndexerError
from indexer.kinds import HEAD, RAW_ADVICE, Kind, kind_of, refused, sniff
from indexer.sidecars import sidecar_names
from indexer.skips import Reason
from indexer.types import Skip

JUNK = frozenset({"@eaDir", "__MACOSX", "Thumbs.db", "$RECYCLE.BIN", "System Volume Information"})

Report = Callable[[Skip], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A file worth opening. `path` is absolute, as the system spells it (surrogateescape)."""

    path: str
    size: int
    mtime_ns: int
    kind: Kind


def walk(
    roots: Sequence[Path],
    skip: Report,
    *,
    follow_links: bool = False,
    visited: set[tuple[int, int]] | None = None,
) -> Iterator[Found]:
    """The pictures and texts under `roots`, each file once, folder by folder, sorted by name.

    Hidden files, known junk, sidecars and files that are neither by name nor by content a picture
    or a text are passed over in silence; what cannot be read goes to `skip`. Links to files are
    followed, links to folders with `follow_links` only; the folders of other walks that are in
    `visited` are not looked into again then. Raises `IndexerError` before anything else happens
    where a root does not exist.
    """
    starts = distinct_roots(roots)
    return _Walker(skip, follow_links, visited).walk(starts)


def distinct_roots(roots: Sequence[Path]) -> list[str]:
    """The real paths of `roots`, sorted, without those that a walk of another reaches anyway."""
    real = sorted({existing(root) for root in roots})
    return [path for path in real if not any(_reaches(other, path) for other in real)]


def is_there(root: str) -> bool:
    """Whether `root` is a file, or a folder with anything in it."""
    try:
        if os.path.isfile(root):
            return True
        with os.scandir(root) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def printable(path: str) -> str:
    """`path` as payloads and reports show it: bytes that are no UTF-8 become `\\xe9`."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return path


def file_path(shown: str) -> str:
    """The path that `printable` showed: as it stands if that exists, else with its bytes back."""
    if "\\x" not in shown or os.path.lexists(shown):
        return shown
    byte = re.compile(r"\\x([89a-f][0-9a-f])")
    return byte.sub(lambda match: chr(0xDC00 + int(match[1], 16)), shown)


def existing(root: Path) -> str:
    try:
        path = os.path.realpath(root.expanduser(), strict=True)
    except (OSError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            why = "does not exist"
        else:
            why = getattr(error, "strerror", None) or str(error)
        raise IndexerError(
            f"{printable(str(root))}: {why}; check the path, and that its disk is mounted"
        ) from None
    return path


def _reaches(outer: str, inner: str) -> bool:
    """Whether walking `outer` comes to `inner`; both are real paths, so no link lies between."""
    prefix = outer if outer.endswith(os.sep) else outer + os.sep
    if outer == inner or not inner.startswith(prefix):
        return False
    return not any(ignored(part) for part in inner[len(prefix) :].split(os.sep))


def ignored(name: str) -> bool:
    """Whether a file or a folder called so is passed over in silence."""
    return name.startswith(".") or name in JUNK


class _Walker:
    """One walk: an explicit stack of folders, so that depth costs no recursion."""

    def __init__(
        self, skip: Report, follow_links: bool, visited: set[tuple[int, int]] | None
    ) -> None:
        self.skip, self.follow_links = skip, follow_links
        # (device, inode) of folders; if following only
        self.visited: set[tuple[int, int]] = set() if visited is None else visited

    def walk(self, starts: Sequence[str]) -> Iterator[Found]:
        for start in starts:
            if not os.path.isdir(start):
                yield from self.single(start)
                continue
            stack = [start]
            while stack:
                folder = stack.pop()
                if self.is_new(folder):
                    folders: list[str] = []
                    yield from self.folder(folder, folders)
                    stack.extend(reversed(folders))

    def single(self, path: str) -> Iterator[Found]:
        """A file that the user named: it is never passed over in silence."""
        name = os.path.basename(path)
        try:
            status = os.stat(path)
        except OSError as error:
            return self.refuse(path, "unreadable", error.strerror or str(error))
        found = self.found(path, name, status)
        if found:
            yield found
        elif stat.S_ISREG(status.st_mode) and not refused(name):
            self.refuse(path, "unsupported", "neither a picture nor a text")

    def folder(self, path: str, folders: list[str]) -> Iterator[Found]:
        """The files of one folder; its folders are added to `folders`."""
        try:
            with os.scandir(path) as listing:
                entries = sorted(
                    (e for e in listing if not ignored(e.name)), key=lambda entry: entry.name
                )
        except OSError as error:
            return self.refuse(path, "unreadable", f"folder: {error.strerror or error}")
        sidecars = sidecar_names(entry.name for entry in entries)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name not in sidecars:
                yield from self.entry(entry, folders)

    def entry(self, entry: os.DirEntry[str], folders: list[str]) -> Iterator[Found]:
        try:
            status = entry.stat()
        except OSError as error:
            if kind_of(entry.name):
                loop = error.errno == errno.ELOOP
                why = "a link to itself" if loop else _unreadable(entry, error)
                self.refuse(entry.path, "link-cycle" if loop else "unreadable", why)
            return
        if stat.S_ISDIR(status.st_mode):  # a link to a folder
            if self.follow_links and not self.closes_cycle(entry.path):
                folders.append(entry.path)
            return
        found = self.found(entry.path, entry.name, status)
        if found:
            yield found

    def found(self, path: str, name: str, status: os.stat_result) -> Found | None:
        advice, kind = refused(name), kind_of(name)
        if advice:
            self.refuse(path, "unsupported", advice)
            return None
        if not stat.S_ISREG(status.st_mode):
            if kind:
                self.refuse(path, "not-a-regular-file", f"{_describe(status)}, not a file")
            return None
        if kind is None:
            magic = sniff(_head(path))
            if magic == "raw":
                self.refuse(path, "unsupported", RAW_ADVICE)
                return None
            kind = "image" if magic else None
        return Found(path, status.st_size, status.st_mtime_ns, kind) if kind else None

    def is_new(self, folder: str) -> bool:
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

    def closes_cycle(self, link: str) -> bool:
        target = os.path.realpath(link)
        if not (os.path.realpath(os.path.dirname(link)) + os.sep).startswith(
            target.rstrip(os.sep) + os.sep
        ):
            return False
        self.refuse(link, "link-cycle", f"a link back to {printable(target)}, which holds it")
        return True

    def refuse(self, path: str, reason: Reason, detail: str) -> None:
        self.skip(Skip(printable(path), reason, detail))


def _unreadable(entry: os.DirEntry[str], error: OSError) -> str:
    if entry.is_symlink() and error.errno == errno.ENOENT:
        return "a link to a file that is not there"
    return error.strerror or str(error)


def _describe(status: os.stat_result) -> str:
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(status.st_mode), "a device")


def _head(path: str) -> bytes:
    """The first bytes of a file; b"" where they cannot be had. Never waits on a pipe."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, HEAD)
    except OSError:
        return b""
    finally:
        os.close(file)
