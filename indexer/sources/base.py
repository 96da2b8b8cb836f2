"""The interface of what an ingest reads from, and what its implementations share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from embedder.images.decode import DecodeLimits
from embedder.images.formats import FileKind
from indexer.captions.resolver import FileCaptions
from indexer.paths import is_web, redact_url
from indexer.skip_reasons import UnusableFileError
from indexer.sources.http.client import HttpClient
from indexer.types import SkippedFile

SkipCallback = Callable[[SkippedFile], None]


@dataclass(frozen=True, slots=True)
class DiscoveredFile:
    """An image or a text file. A local `path` is absolute and may hold undecodable bytes."""

    path: str
    size: int
    mtime_ns: int
    kind: FileKind


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read. Rows of tables and lists may point to `allowed_hosts`."""

    manifest: Path | None = None
    follow_links: bool = False
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePart:
    """A part of a source: every path in it starts with `name`.

    `stamp` changes when anything in the part does, so that a finished part need not be listed
    again; None if only a listing can tell.
    """

    name: str
    stamp: str | None = None


class Source(Protocol):
    """One folder, bucket, archive, table or list. Can be pickled; reads in any process and thread.

    `root` is how the catalog and payloads show it, without credentials: an absolute path or a
    URL. A path is `root` itself, or continues it with "/" or "#".
    """

    @property
    def root(self) -> str: ...

    @property
    def is_folder(self) -> bool:
        """Whether the paths are files on this machine that can be looked up one by one."""
        ...

    def check_readable(self) -> None:
        """Raise `IndexerError` with a message for the user if it cannot be read."""
        ...

    def is_available(self) -> bool:
        """Whether there is anything in it; a disk that is not mounted is not available."""
        ...

    def list_parts(self) -> Iterable[SourcePart]:
        """Return the parts; raises `IndexerError`."""
        ...

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        """Yield the images and texts of a part, in order.

        A problem with one file goes to `on_skip` under its path; a problem with everything that
        follows in the part, under the part's name. Raises `IndexerError` if it cannot be listed.
        """
        ...

    def compute_stamp(self, path: str) -> str:
        """Return what changes when something written about the file does, or when the file itself
        changes without a change of its size and time."""
        ...

    def load_captions(self, path: str) -> FileCaptions:
        """Return everything written about a file; its `stamp` is `compute_stamp(path)`."""
        ...

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        """Return the file's bytes; raises `UnusableFileError`."""
        ...


class BaseSource:
    """What the sources share: an address (which may hold credentials) and its redacted root.

    Args:
        address: A path or a URL.
        options: How to read it.
        on_skip: Gets the caption files that cannot be read.
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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._address, self._options)

    def list_parts(self) -> Iterable[SourcePart]:
        return (SourcePart(self.root),)

    @cached_property
    def _http(self) -> HttpClient:
        origin = self._address if is_web(self._address) else None
        return HttpClient(origin, self._options.allowed_hosts)


def check_size(size: int, limit: int) -> int:
    """Return `size`; raises `UnusableFileError` if a file of that size is not read."""
    if size == 0:
        raise UnusableFileError("empty", "0 bytes")
    if size > limit:
        raise UnusableFileError(
            "too-large", f"{size:,} bytes; the limit is {limit:,}: raise it with --max-bytes"
        )
    return size
