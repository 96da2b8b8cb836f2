"""The sources of one run, or of a collection: each path is asked of the one that it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from indexer.captions import CaptionSource, Described
from indexer.decode import Limits
from indexer.decode import read as read_file
from indexer.errors import IndexerError
from indexer.skips import Undecodable
from indexer.sources.addresses import above, continues, is_plain
from indexer.sources.folder import FolderSource
from indexer.sources.hosts import named_hosts
from indexer.sources.opening import addresses, source_of
from indexer.sources.protocol import Reading, Report, Source
from indexer.walk import distinct_roots, file_path


class Sources:
    """By their roots, sorted. It can be pickled; the folders read their captions anew then."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._by_root: Mapping[str, Source] = {
            source.root: source for source in sorted(sources, key=lambda source: source.root)
        }

    @staticmethod
    def open(
        arguments: Sequence[str | Path], reading: Reading | None = None, skip: Report | None = None
    ) -> Sources:
        """What the arguments name, each thing once; `skip` is told of bad caption files.

        Raises `IndexerError` for what does not exist or cannot be read from.
        """
        how = reading or Reading()
        named_hosts(how.hosts)
        named = [source_of(one, how, skip) for arg in arguments for one in addresses(arg)]
        folders = distinct_roots([Path(one.root) for one in named if one.is_folder])
        others = [one for one in named if not one.is_folder]
        roots = {one.root for one in others}
        others = [o for o in others if not any(continues(o.root, r) for r in roots - {o.root})]
        return Sources([*_folders(folders, how, skip or (lambda _: None)), *others])

    @staticmethod
    def known(roots: Sequence[str], reading: Reading | None = None) -> Sources:
        """Those of the roots of a catalogue that are there; nothing remote is asked."""
        found = []
        for root in roots:
            try:
                found.append(source_of(root, reading))
            except IndexerError:
                continue
        return Sources(found)

    def __iter__(self) -> Iterator[Source]:
        return iter(self._by_root.values())

    @property
    def roots(self) -> list[str]:
        return list(self._by_root)

    def require(self) -> None:
        """Raise `IndexerError` where one cannot be read: before a collection is made for it."""
        for source in self:
            source.require()

    def of(self, path: str) -> Source | None:
        """The source that a path of the catalogue came from; the nearest, of several."""
        for root in above(path):
            if root in self._by_root:
                return self._by_root[root]
        return None

    def captions_for(self, path: str) -> Described:
        source = self.of(path)
        return source.captions_for(path) if source else Described()

    def read(self, path: str, limits: Limits) -> bytes:
        """Raises `Undecodable`; of a path that came from none of these, too."""
        source = self.of(path)
        if source is None:
            raise Undecodable("remote", "not fetched: it belongs to no source that is known")
        return source.read(path, limits)


def is_there(root: str, hosts: Sequence[str] = ()) -> bool:
    """Whether there is anything at a root of the catalogue; asks the server that it is on."""
    try:
        return source_of(root, Reading(hosts=tuple(hosts))).is_there()
    except IndexerError:
        return False


def read_original(
    roots: Sequence[str], shown: str, limits: Limits, hosts: Sequence[str] = ()
) -> bytes:
    """The bytes of what a payload shows as a path: a file here, or what lies in or under one of a
    collection's `roots`, and from nowhere else. Raises `Undecodable`."""
    if is_plain(shown):
        return read_file(file_path(shown), limits)
    try:
        return _kept(tuple(roots), tuple(hosts)).read(shown, limits)
    except IndexerError as error:
        if isinstance(error, Undecodable):
            raise
        raise Undecodable("unreadable", str(error)) from None


@lru_cache(maxsize=4)
def _kept(roots: tuple[str, ...], hosts: tuple[str, ...]) -> Sources:
    """Opened once: finding a member of an archive takes a look through it."""
    return Sources.known(roots, Reading(hosts=hosts))


def _folders(roots: Sequence[str], reading: Reading, skip: Report) -> list[Source]:
    """They share their captions' source, and the folders that links lead to."""
    if not roots:
        return []
    captions = CaptionSource([Path(root) for root in roots], skip, reading.manifest)
    visited: set[tuple[int, int]] = set()
    return [FolderSource(root, reading, captions, visited) for root in roots]
