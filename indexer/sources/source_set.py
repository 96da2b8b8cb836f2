"""The sources of one run, or of a collection: each path is asked of the one that it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from embedder.images.decode import DecodeLimits, read_file
from indexer.captions.resolver import CaptionResolver, FileCaptions
from indexer.errors import IndexerError
from indexer.paths import resolve_display_path
from indexer.skip_reasons import UnusableFileError
from indexer.sources.base import SkipCallback, Source, SourceOptions
from indexer.sources.http.allowlist import parse_allowed_hosts
from indexer.sources.local import LocalSource
from indexer.sources.paths import ancestors, is_local_file, is_within
from indexer.sources.registry import expand_argument, open_source
from indexer.sources.walk import distinct_roots


class SourceSet:
    """By their roots, sorted. It can be pickled; the folders read their captions anew then."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._by_root: Mapping[str, Source] = {
            source.root: source for source in sorted(sources, key=lambda source: source.root)
        }

    @staticmethod
    def open(
        arguments: Sequence[str | Path],
        options: SourceOptions | None = None,
        on_skip: SkipCallback | None = None,
    ) -> SourceSet:
        """What the arguments name, each thing once; `skip` is told of bad caption files.

        Raises `IndexerError` for what does not exist or cannot be read from.
        """
        source_options = options or SourceOptions()
        parse_allowed_hosts(source_options.allowed_hosts)
        opened = [
            open_source(one, source_options, on_skip)
            for arg in arguments
            for one in expand_argument(arg)
        ]
        folders = distinct_roots([Path(one.root) for one in opened if one.is_folder])
        others = [one for one in opened if not one.is_folder]
        roots = {one.root for one in others}
        others = [o for o in others if not any(is_within(o.root, r) for r in roots - {o.root})]
        return SourceSet(
            [*_make_local_sources(folders, source_options, on_skip or (lambda _: None)), *others]
        )

    @staticmethod
    def from_roots(roots: Sequence[str], options: SourceOptions | None = None) -> SourceSet:
        """Those of the roots of a catalogue that are there; nothing remote is asked."""
        found = []
        for root in roots:
            try:
                found.append(open_source(root, options))
            except IndexerError:
                continue
        return SourceSet(found)

    def __iter__(self) -> Iterator[Source]:
        return iter(self._by_root.values())

    @property
    def roots(self) -> list[str]:
        return list(self._by_root)

    def check_readable(self) -> None:
        """Raise `IndexerError` where one cannot be read: before a collection is made for it."""
        for source in self:
            source.check_readable()

    def source_for(self, path: str) -> Source | None:
        """The source that a path of the catalogue came from; the nearest, of several."""
        for root in ancestors(path):
            if root in self._by_root:
                return self._by_root[root]
        return None

    def load_captions(self, path: str) -> FileCaptions:
        source = self.source_for(path)
        return source.load_captions(path) if source else FileCaptions()

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        """Raises `Undecodable`; of a path that came from none of these, too."""
        source = self.source_for(path)
        if source is None:
            raise UnusableFileError("remote", "not fetched: it belongs to no source that is known")
        return source.read(path, limits)


def is_root_available(root: str, hosts: Sequence[str] = ()) -> bool:
    """Whether there is anything at a root of the catalogue; asks the server that it is on."""
    try:
        return open_source(root, SourceOptions(allowed_hosts=tuple(hosts))).is_available()
    except IndexerError:
        return False


def read_original(
    roots: Sequence[str], displayed: str, limits: DecodeLimits, hosts: Sequence[str] = ()
) -> bytes:
    """The bytes of what a payload shows as a path: a file here, or what lies in or under one of a
    collection's `roots`, and from nowhere else. Raises `Undecodable`."""
    if is_local_file(displayed):
        return read_file(resolve_display_path(displayed), limits)
    try:
        return _open_roots(tuple(roots), tuple(hosts)).read(displayed, limits)
    except IndexerError as error:
        if isinstance(error, UnusableFileError):
            raise
        raise UnusableFileError("unreadable", str(error)) from None


@lru_cache(maxsize=4)
def _open_roots(roots: tuple[str, ...], hosts: tuple[str, ...]) -> SourceSet:
    """Opened once: finding a member of an archive takes a look through it."""
    return SourceSet.from_roots(roots, SourceOptions(allowed_hosts=hosts))


def _make_local_sources(
    roots: Sequence[str], options: SourceOptions, on_skip: SkipCallback
) -> list[Source]:
    """They share their captions' source, and the folders that links lead to."""
    if not roots:
        return []
    captions = CaptionResolver([Path(root) for root in roots], on_skip, options.manifest)
    visited: set[tuple[int, int]] = set()
    return [LocalSource(root, options, captions, visited) for root in roots]
