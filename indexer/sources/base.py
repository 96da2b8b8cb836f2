"""The interface of what an ingest reads from, and what its implementations share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from embedder.images.decode import DecodeLimits
from embedder.images.formats import (
    RAW_ADVICE,
    FileKind,
    detect_kind,
    sniff_format,
    unsupported_reason,
)
from indexer.captions.normalize import FileCaptions
from indexer.errors import IndexerError, MissingExtraError, UnusableFileError
from indexer.paths import is_web, redact_url
from indexer.sources.http_client import HttpClient
from indexer.types import Note, SkipCallback

IGNORED_NAMES = frozenset(
    {"@eaDir", "__MACOSX", "Thumbs.db", "$RECYCLE.BIN", "System Volume Information"}
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An image or a text of a source. A local `path` is absolute and may hold undecodable bytes.

    `ctime_ns` changes with the file, also where size and time stay the same; None where that cannot
    be relied on.
    """

    path: str
    size: int
    mtime_ns: int
    kind: FileKind
    ctime_ns: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        manifest: A table of captions that counts for all files.
        follow_links: Follow symbolic links to folders.
        allowed_hosts: The hosts that rows of tables and lists may point to.
        within: Folders on this machine that no link may lead out of; None: links lead anywhere.
        caption_roots: Folders of earlier runs: a table of captions there applies to all below.
    """

    manifest: Path | None = None
    follow_links: bool = False
    allowed_hosts: tuple[str, ...] = ()
    within: tuple[str, ...] | None = None
    caption_roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePart:
    """A part of a source: every path in it starts with `name`.

    `stamp` changes when anything in the part does, so that a finished part need not be listed
    again; None if only a listing can tell.
    """

    name: str
    stamp: str | None = None


class Source(ABC):
    """One folder, bucket, archive, table or list. Can be pickled; reads in any process and thread.

    Args:
        address: A path or a URL, which may hold credentials.
        options: How to read it.
        on_skip: Gets the caption files that cannot be read.

    Attributes:
        root: How the catalog and payloads show the address, without credentials: an absolute path
            or a URL. A path in the source is `root` itself, or continues it with "/" or "#".
        is_folder: Whether the paths are files on this machine that can be looked up one by one.
        passed_over: Kind -> how many files were found that are neither images nor texts.
    """

    is_folder = False

    def __init__(
        self,
        address: str,
        options: SourceOptions | None = None,
        on_skip: SkipCallback | None = None,
    ) -> None:
        self._address, self._options = address, options or SourceOptions()
        self._on_skip = on_skip or (lambda _: None)
        self.root = redact_url(address)
        self.passed_over: Counter[str] = Counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._address, self._options)

    @abstractmethod
    def check_readable(self) -> None:
        """Raise `IndexerError` with a message for the user if it cannot be read."""

    def is_available(self) -> bool:
        """Whether there is anything in it; a disk that is not mounted is not available."""
        try:
            return self._has_content()
        except (IndexerError, MissingExtraError, UnusableFileError):
            return False

    @abstractmethod
    def _has_content(self) -> bool: ...

    def list_parts(self) -> Iterable[SourcePart]:
        """Return the parts; raises `IndexerError`."""
        return (SourcePart(self.root),)

    @abstractmethod
    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[SourceFile]:
        """Yield the images and texts of a part, in order.

        A problem with one file goes to `on_skip` under its path; a problem with everything that
        follows in the part, under the part's name. Raises `IndexerError` if it cannot be listed.
        """

    @abstractmethod
    def compute_stamp(self, path: str) -> str:
        """Return what changes when something written about the file does, or when the file itself
        changes without a change of its size and time."""

    @abstractmethod
    def load_captions(self, path: str) -> FileCaptions:
        """Return everything written about a file; its `stamp` is `compute_stamp(path)`."""

    def list_notes(self) -> list[Note]:
        """Return what people should know about the captions of the files found so far."""
        return []

    @abstractmethod
    def read(self, path: str, limits: DecodeLimits) -> bytes:
        """Return the file's bytes; raises `UnusableFileError`."""

    @cached_property
    def _http(self) -> HttpClient:
        origin = self._address if is_web(self._address) else None
        return HttpClient(origin, self._options.allowed_hosts)


def identify_file(name: str, read_head: Callable[[], bytes]) -> FileKind | None:
    """Return a file's kind, by its first bytes if its name does not tell; None if it is neither.

    Raises:
        UnusableFileError: "unsupported": an image that another program has to convert.
    """
    advice, kind = unsupported_reason(name), detect_kind(name)
    if not advice and kind is None:
        format = sniff_format(read_head())
        advice = RAW_ADVICE if format == "raw" else None
        kind = "image" if format else None
    if advice:
        raise UnusableFileError("unsupported", advice)
    return kind


def is_ignored(name: str) -> bool:
    """Whether a file or a folder of this name is ignored: hidden, or a system's own."""
    return name.startswith(".") or name in IGNORED_NAMES


def check_size(size: int, limit: int) -> int:
    """Return `size`; raises `UnusableFileError` if a file of that size is not read."""
    if size == 0:
        raise UnusableFileError("empty", "0 bytes")
    if size > limit:
        raise UnusableFileError(
            "too-large", f"{size:,} bytes; the limit is {limit:,}: raise it with --max-bytes"
        )
    return size
