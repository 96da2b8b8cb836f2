"""Folders and files on this machine: the walk that finds images and texts, and their source."""

# Paths are strings here, as the system spells them: a Path for each of a million files is slow.
# ruff: noqa: PTH112, PTH113, PTH116, PTH119, PTH120, PTH123

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from embedder.images.decode import DecodeLimits, read_file
from embedder.images.formats import SNIFF_BYTES, detect_kind, unsupported_reason
from indexer.captions.normalize import FileCaptions
from indexer.captions.resolver import CaptionResolver, is_manifest
from indexer.captions.sidecar_names import match_sidecars
from indexer.errors import IndexerError, UnusableFileError
from indexer.paths import display_path, leads_outside
from indexer.sources.base import (
    Source,
    SourceFile,
    SourceOptions,
    SourcePart,
    identify_file,
    is_ignored,
)
from indexer.sources.mounts import MountTable
from indexer.sources.passed_over import classify_other
from indexer.types import Note, SkipCallback, SkippedFile

LINK_OUTSIDE = "it leads out of the folders that may be read (library_roots)"


class LocalSource(Source):
    """A folder, or a file. `address` is a real path.

    The folders of one run share `captions` and `visited`.
    """

    is_folder = True

    def __init__(
        self,
        address: str,
        options: SourceOptions | None = None,
        on_skip: SkipCallback | None = None,
        captions: CaptionResolver | None = None,
        visited: set[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(address, options, on_skip)
        self._visited = visited
        self._captions = captions or CaptionResolver(
            [Path(address)],
            self._on_skip,
            self._options.manifest,
            self._options.within,
            self._options.caption_roots,
        )

    def check_readable(self) -> None:
        if leads_outside(resolve_root(Path(self.root)), self._options.within):
            raise IndexerError(f"{display_path(self.root)}: {LINK_OUTSIDE}")

    def _has_content(self) -> bool:
        return is_path_available(self.root)

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[SourceFile]:
        options = self._options
        walk = Walk(on_skip, options.follow_links, self._visited, options.within, self._pass_over)
        return walk.run([Path(self.root)])

    def list_notes(self) -> list[Note]:
        return self._captions.list_notes()

    def _pass_over(self, path: str, name: str) -> None:
        if is_manifest(name):
            self._captions.add_table(path)
        else:
            self.passed_over[classify_other(name)] += 1

    def compute_stamp(self, path: str) -> str:
        return self._captions.compute_stamp(path)

    def load_captions(self, path: str) -> FileCaptions:
        return self._captions.load_captions(path)

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        if leads_outside(path, self._options.within):
            raise UnusableFileError("unreadable", LINK_OUTSIDE)
        return read_file(path, limits)


def distinct_roots(roots: Sequence[Path]) -> list[str]:
    """Return the real paths of `roots`, sorted, without those that a walk of another reaches."""
    real = sorted({resolve_root(root) for root in roots})
    return [path for path in real if not any(_walk_reaches(other, path) for other in real)]


def resolve_root(root: Path) -> str:
    """Return the real path of `root`; raises `IndexerError` if it does not exist."""
    try:
        return os.path.realpath(os.path.expanduser(root), strict=True)
    except FileNotFoundError:
        reason = "does not exist"
    except OSError as error:
        reason = error.strerror or str(error)
    raise IndexerError(
        f"{display_path(str(root))}: {reason}; check the path, and that its disk is mounted"
    )


def is_path_available(root: str) -> bool:
    """Whether `root` is a file, or a folder with anything in it."""
    try:
        if os.path.isfile(root):
            return True
        with os.scandir(root) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def _walk_reaches(outer: str, inner: str) -> bool:
    """Whether walking `outer` reaches `inner`; both are real paths, so no link lies between."""
    path = Path(inner)
    if outer == inner or not path.is_relative_to(outer):
        return False
    return not any(map(is_ignored, path.relative_to(outer).parts))


class Walk:
    """Finds images and texts, each file once, folder by folder, sorted by name.

    Hidden files, known system files, sidecars, and files that are neither by name nor by content
    an image or a text are ignored. Deep trees cost no recursion.

    Args:
        on_skip: Gets what cannot be read.
        follow_links: Follow links to folders too; links to files are always followed.
        visited: Folders of other walks, as (device, inode); with `follow_links` they are not
            walked again.
        within: Folders that no link may lead out of; None: links lead anywhere.
        on_other: Called with the path and the name of a file that is neither an image nor a text.
    """

    def __init__(
        self,
        on_skip: SkipCallback,
        follow_links: bool = False,
        visited: set[tuple[int, int]] | None = None,
        within: Sequence[str] | None = None,
        on_other: Callable[[str, str], None] = lambda path, name: None,
    ) -> None:
        self._on_skip, self._follow_links, self._within = on_skip, follow_links, within
        self._on_other, self._mounts = on_other, MountTable()
        self._visited: set[tuple[int, int]] = set() if visited is None else visited

    def run(self, roots: Sequence[Path]) -> Iterator[SourceFile]:
        """Yield the files under `roots`; raises `IndexerError` if a root does not exist."""
        for start in distinct_roots(roots):
            if not os.path.isdir(start):
                yield from self._walk_file(start)
                continue
            stack = [start]
            while stack:
                folder = stack.pop()
                if self._is_first_visit(folder):
                    folders: list[str] = []
                    yield from self._walk_folder(folder, folders)
                    stack.extend(reversed(folders))

    def _walk_file(self, path: str) -> Iterator[SourceFile]:
        """Check a file that the user named: it is never ignored silently."""
        name = os.path.basename(path)
        try:
            status = os.stat(path)
        except OSError as error:
            return self._report_skip(path, "unreadable", error.strerror or str(error))
        file = self._identify(path, name, status)
        if file:
            yield file
        elif not stat.S_ISREG(status.st_mode):
            self._report_irregular(path, status)
        elif not unsupported_reason(name):
            self._report_skip(path, "unsupported", "neither an image nor a text")

    def _walk_folder(self, path: str, folders: list[str]) -> Iterator[SourceFile]:
        """Yield the files of one folder; add its subfolders to `folders`."""
        try:
            with os.scandir(path) as listing:
                entries = sorted(
                    (entry for entry in listing if not is_ignored(entry.name)),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            return self._report_skip(path, "unreadable", f"folder: {error.strerror or error}")
        sidecars = match_sidecars(entry.name for entry in entries).sidecars
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name not in sidecars:
                yield from self._check_entry(entry, folders)

    def _check_entry(self, entry: os.DirEntry[str], folders: list[str]) -> Iterator[SourceFile]:
        try:
            status = entry.stat()
        except OSError as error:
            if not detect_kind(entry.name):
                return
            if error.errno == errno.ELOOP:
                return self._report_skip(entry.path, "link-cycle", "a link to itself")
            detail = error.strerror or str(error)
            if error.errno == errno.ENOENT and entry.is_symlink():
                detail = "a link to a file that does not exist"
            return self._report_skip(entry.path, "unreadable", detail)
        if entry.is_symlink() and leads_outside(entry.path, self._within):
            if stat.S_ISREG(status.st_mode) and detect_kind(entry.name):
                self._report_skip(entry.path, "unreadable", LINK_OUTSIDE)
            return
        if stat.S_ISDIR(status.st_mode):  # a link to a folder
            if self._follow_links and not self._is_link_cycle(entry.path):
                folders.append(entry.path)
            return
        file = self._identify(entry.path, entry.name, status)
        if file:
            yield file
        elif not stat.S_ISREG(status.st_mode):
            if detect_kind(entry.name):
                self._report_irregular(entry.path, status)
        elif not unsupported_reason(entry.name):
            self._on_other(entry.path, entry.name)

    def _identify(self, path: str, name: str, status: os.stat_result) -> SourceFile | None:
        is_regular = stat.S_ISREG(status.st_mode)
        try:
            kind = identify_file(name, lambda: _read_head(path) if is_regular else b"")
        except UnusableFileError as error:
            self._report_skip(path, error.reason, error.detail)
            return None
        if not kind or not is_regular:
            return None
        is_reliable = self._mounts.keeps_ctime(os.path.dirname(path))
        ctime_ns = status.st_ctime_ns if is_reliable else None
        return SourceFile(path, status.st_size, status.st_mtime_ns, kind, ctime_ns)

    def _report_irregular(self, path: str, status: os.stat_result) -> None:
        types = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        file_type = types.get(stat.S_IFMT(status.st_mode), "a device")
        self._report_skip(path, "not-a-regular-file", f"{file_type}, not a file")

    def _is_first_visit(self, folder: str) -> bool:
        """Whether this walk has not seen `folder` before; links can lead to it twice."""
        if not self._follow_links:
            return True
        try:
            status = os.stat(folder)
        except OSError:
            return True  # listing it fails too, and reports it
        key = (status.st_dev, status.st_ino)
        is_new = key not in self._visited
        self._visited.add(key)
        return is_new

    def _is_link_cycle(self, link: str) -> bool:
        target = os.path.realpath(link)
        if not Path(os.path.realpath(os.path.dirname(link))).is_relative_to(target):
            return False
        detail = f"a link back to {display_path(target)}, which contains it"
        self._report_skip(link, "link-cycle", detail)
        return True

    def _report_skip(self, path: str, reason: str, detail: str) -> None:
        self._on_skip(SkippedFile(display_path(path), reason, detail))


def _read_head(path: str) -> bytes:
    """Return the first bytes of a file, b"" if they cannot be read. Never waits on a pipe."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(file, "rb", buffering=0) as opened:
            return opened.read(SNIFF_BYTES) or b""
    except OSError:
        return b""
