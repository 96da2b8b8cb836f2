"""What an ingest reads from: folders, buckets, archives, tables, lists of URLs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedder.images.decode import DecodeLimits
from indexer.captions.resolver import FileCaptions
from indexer.sources.walk import DiscoveredFile
from indexer.types import SkippedFile

SkipCallback = Callable[[SkippedFile], None]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read. `allowed_hosts` are those that rows of tables and lists may point to."""

    manifest: Path | None = None
    follow_links: bool = False
    allowed_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SourcePart:
    """A part of a source: every path in it begins with `name`.

    `stamp` changes when anything in it does, so that a part that is done need not be listed again;
    None where only a listing can tell.
    """

    name: str
    stamp: str | None = None


class Source(Protocol):
    """One thing that the user named. It can be pickled, and reads in any process and thread.

    `root` is how the catalogue and payloads show it, without credentials: an absolute path or a
    URL. A path is `root` itself, or continues it with "/" or "#".
    """

    @property
    def root(self) -> str: ...

    @property
    def is_folder(self) -> bool:
        """Whether the paths are files of this machine, which can be looked for one by one."""
        ...

    def check_readable(self) -> None:
        """Raise `IndexerError` in words for the user where it cannot be read."""
        ...

    def is_available(self) -> bool:
        """Whether there is anything in it; a disk that is not mounted is not there."""
        ...

    def list_parts(self) -> Iterable[SourcePart]:
        """Raises `IndexerError`."""
        ...

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        """The pictures and texts of a part, in order. Raises `IndexerError` where it cannot be
        listed; what is wrong with one file goes to `skip`, and with all that follows in the part,
        to `skip` under the part's own name."""
        ...

    def compute_stamp(self, path: str) -> str:
        """What changes when something written about the file does, or, unseen in its size and
        time, the file itself."""
        ...

    def load_captions(self, path: str) -> FileCaptions:
        """All that is written about a file; `stamp` is that of `stamp(path)`."""
        ...

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        """The file's bytes; raises `Undecodable`."""
        ...
