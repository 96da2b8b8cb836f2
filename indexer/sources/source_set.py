"""The types of sources, and the sources of one run or of a collection."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, product
from math import prod
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from embedder.images.decode import DecodeLimits, read_file
from indexer.captions.normalize import FileCaptions
from indexer.captions.resolver import CaptionResolver
from indexer.errors import IndexerError, MissingExtraError, UnusableFileError, unreadable
from indexer.paths import (
    ancestors,
    container_of,
    display_path,
    hash_content,
    is_local_file,
    is_web,
    is_within,
    make_point_ids,
    redact_url,
    resolve_display_path,
    url_scheme,
)
from indexer.sources.base import Source, SourceOptions
from indexer.sources.local import LocalSource, distinct_roots, resolve_root
from indexer.types import Note, SkipCallback

Place = Literal["local", "web", "filesystem"]
"""This machine, http(s), or another file system that fsspec knows."""

ANYWHERE: tuple[Place, ...] = ("local", "web", "filesystem")
TAR_EXTENSIONS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
LIST_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
DATASET_FILES = (("dataset_dict.json",), ("dataset_info.json", "state.json"))


class SourceType(NamedTuple):
    """A class of sources, and which addresses it reads.

    Without `extensions` and `folders` it reads every address of its places. `folders` are sets of
    files that mark a local folder as such a source.
    """

    target: str  # module:class
    places: tuple[Place, ...]
    extensions: tuple[str, ...] = ()
    folders: tuple[tuple[str, ...], ...] = ()

    def reads(self, address: str, place: Place) -> bool:
        """Whether sources of this type read an address of a place."""
        if place not in self.places or not (self.extensions or self.folders):
            return place in self.places
        folder = Path(address)
        if place == "local" and folder.is_dir():
            return any(all((folder / f).is_file() for f in files) for files in self.folders)
        return redact_url(address).lower().endswith(self.extensions)


# The first that matches. A new type is one module with a `Source` class, and one line here; if its
# paths are `FILE#MEMBER`, its extension is added to `indexer.paths.MEMBER_PATTERN` too.
SOURCE_TYPES = (
    SourceType("indexer.sources.tar:TarSource", ANYWHERE, TAR_EXTENSIONS),
    SourceType("indexer.sources.parquet:ParquetSource", ANYWHERE, (".parquet",)),
    SourceType("indexer.sources.parquet:ParquetSource", ("local",), (".arrow",), DATASET_FILES),
    SourceType("indexer.sources.url_list:UrlListSource", ("web",), LIST_EXTENSIONS),
    SourceType("indexer.sources.object_storage:ObjectStorageSource", ("filesystem",)),
    SourceType("indexer.sources.local:LocalSource", ("local",)),
)

BRACES_PATTERN = re.compile(r"\{(?:(\d{1,18})\.\.(\d{1,18})|([^{}]*,[^{}]*))\}")
MAX_EXPANDED_NAMES = 100_000


class SourceSet:
    """Sources by their roots, sorted. Can be pickled; captions are then read again."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._by_root = {s.root: s for s in sorted(sources, key=lambda source: source.root)}

    @staticmethod
    def open(
        arguments: Sequence[str | Path],
        options: SourceOptions | None = None,
        on_skip: SkipCallback | None = None,
    ) -> SourceSet:
        """Open what the arguments name, each source once.

        Args:
            arguments: Paths and URLs; braces and wildcards are expanded.
            options: How to read them.
            on_skip: Gets the caption files that cannot be read.

        Raises:
            IndexerError: A source does not exist or cannot be read from.
        """
        options = options or SourceOptions()
        if options.allowed_hosts:
            from indexer.sources.allowlist import parse_allowed_hosts

            parse_allowed_hosts(options.allowed_hosts)
        opened = [
            open_source(address, options, on_skip)
            for argument in arguments
            for address in expand_argument(argument)
        ]
        folders = distinct_roots([Path(source.root) for source in opened if source.is_folder])
        captions = CaptionResolver(
            list(map(Path, folders)),
            on_skip,
            options.manifest,
            options.within,
            options.caption_roots,
        )
        visited: set[tuple[int, int]] = set()
        others = {source.root: source for source in opened if not source.is_folder}
        return SourceSet(
            [
                *(LocalSource(root, options, on_skip, captions, visited) for root in folders),
                *(
                    source
                    for root, source in others.items()
                    if not any(is_within(root, other) for other in others if other != root)
                ),
            ]
        )

    @staticmethod
    def from_roots(roots: Sequence[str], options: SourceOptions | None = None) -> SourceSet:
        """Open the roots of a catalog that exist; sends no request."""
        sources = []
        for root in roots:
            try:
                sources.append(open_source(root, options))
            except IndexerError:
                continue
        return SourceSet(sources)

    def __iter__(self) -> Iterator[Source]:
        return iter(self._by_root.values())

    @property
    def roots(self) -> list[str]:
        return list(self._by_root)

    def check_readable(self) -> None:
        """Raise `IndexerError` if a source cannot be read, before a collection is created."""
        for source in self:
            source.check_readable()

    def source_for(self, path: str) -> Source | None:
        """Return the source that a path of the catalog came from; of several, the nearest."""
        for root in ancestors(path):
            if root in self._by_root:
                return self._by_root[root]
        return None

    def list_notes(self) -> list[Note]:
        """Return what people should know about the captions of the files found so far."""
        return list(dict.fromkeys(note for source in self for note in source.list_notes()))

    def count_passed_over(self) -> dict[str, int]:
        """Return kind -> how many files were found that are neither images nor texts."""
        counts = sum((source.passed_over for source in self), Counter[str]())
        return dict(counts.most_common())

    def load_captions(self, path: str) -> FileCaptions:
        """Return everything written about a file."""
        source = self.source_for(path)
        return source.load_captions(path) if source else FileCaptions()

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        """Return a file's bytes; raises `UnusableFileError`, also for a path of no source."""
        source = self.source_for(path)
        if source is None:
            raise UnusableFileError("remote", "not fetched: it belongs to no known source")
        return source.read(path, limits)


def open_source(
    argument: str | Path,
    options: SourceOptions | None = None,
    on_skip: SkipCallback | None = None,
) -> Source:
    """Open the source at a path or a URL; sends no request.

    Raises:
        IndexerError: The path does not exist, or nothing can read the address.
    """
    address, scheme = str(argument), url_scheme(str(argument))
    if scheme in {"file", "local"}:
        address, scheme = unquote(urlsplit(address).path), ""
    if not scheme:
        if "::" in address and "://" in address:
            from indexer.sources.filesystem import open_filesystem

            open_filesystem(address)  # raises with the reason
        address = resolve_root(Path(address))
    place: Place = "web" if is_web(address) else "filesystem" if scheme else "local"
    for source_type in SOURCE_TYPES:
        if source_type.reads(address, place):
            source: Source = resolve_name(source_type.target)(address, options, on_skip)
            return source
    raise IndexerError(
        f"{redact_url(address)}: folders on the web cannot be listed; name a list of images "
        f"({', '.join(LIST_EXTENSIONS)}), a .tar or a .parquet"
    )


def is_root_available(root: str, hosts: Sequence[str] = ()) -> bool:
    """Whether there is anything at a root of the catalog; asks the server that it is on."""
    try:
        return open_source(root, SourceOptions(allowed_hosts=tuple(hosts))).is_available()
    except (IndexerError, MissingExtraError):
        return False


def find_original(
    id: str,
    paths: Sequence[str],
    roots: Sequence[str],
    limits: DecodeLimits,
    hosts: Sequence[str] = (),
) -> bytes | None:
    """Read the image that a point was made of.

    The paths come from the store, which others may write to: a path is read only if it lies in one
    of the roots, and its bytes are returned only if `id` follows from them. So a file that was
    edited, or replaced by a link to another one, is never taken for the image.

    Args:
        id: The point.
        paths: The paths in its payload.
        roots: The collection's roots.
        limits: The largest file that is read.
        hosts: Hosts that the rows of tables and lists may point to.

    Returns:
        The bytes; None where no path holds the image any more.
    """
    for path in paths:
        with suppress(UnusableFileError, ValueError):  # ValueError: a path with a NUL
            data = read_original(roots, path, limits, hosts)
            if make_point_ids(hash_content(data)) == [id]:
                return data
    return None


def read_original(
    roots: Sequence[str], displayed: str, limits: DecodeLimits, hosts: Sequence[str] = ()
) -> bytes:
    """Read the file behind a path of a payload, which may hold something else by now.

    Args:
        roots: The collection's roots; nothing outside them is read.
        displayed: The path as the payload shows it.
        limits: The largest file that is read.
        hosts: Hosts that the rows of tables and lists may point to.

    Raises:
        UnusableFileError: It cannot be read.
    """
    path = resolve_display_path(displayed)
    if ".." in (container_of(path) or path).split("/"):
        raise UnusableFileError("unreadable", "its path leads out of its source")
    if not is_local_file(displayed):
        try:
            return _open_roots(tuple(roots), tuple(hosts)).read(displayed, limits)
        except (IndexerError, MissingExtraError) as error:
            raise unreadable(error) from None
    if not any(is_within(path, root) for root in roots):
        raise UnusableFileError("unreadable", "it belongs to no known source")
    return read_file(path, limits)


@lru_cache(maxsize=4)
def _open_roots(roots: tuple[str, ...], hosts: tuple[str, ...]) -> SourceSet:
    """Open them once: finding a member of an archive takes a pass through it."""
    return SourceSet.from_roots(roots, SourceOptions(allowed_hosts=hosts))


def expand_argument(argument: str | Path) -> list[str]:
    """Expand braces and wildcards; a path that exists as it is written stays as it is."""
    address = str(argument)
    if isinstance(argument, Path) or (
        not url_scheme(address) and Path(os.path.expanduser(address)).exists()
    ):
        return [address]
    matches = [match for name in expand_braces(address) for match in _expand_wildcards(name)]
    if not matches:
        raise IndexerError(f"{display_path(redact_url(address))}: nothing matches")
    return matches


def _expand_wildcards(name: str) -> list[str]:
    if not glob.has_magic(name) or is_web(name):
        return [name]
    if not url_scheme(name):
        return sorted(glob.glob(os.path.expanduser(name)))  # noqa: PTH207
    from indexer.sources.filesystem import describe_error, open_filesystem

    fs, path = open_filesystem(name)
    try:
        return sorted(str(fs.unstrip_protocol(match)) for match in fs.glob(path))
    except Exception as error:
        raise IndexerError(f"{redact_url(name)}: {describe_error(error, name)}") from None


def expand_braces(address: str) -> list[str]:
    """Expand `train-{000..099}.tar` and `{a,b}.tar`; raises `IndexerError` for too many names."""
    pieces = BRACES_PATTERN.split(address)  # a text, the groups of a match, a text, ...
    texts, firsts = pieces[::4], pieces[1::4]
    choices: list[Sequence[int | str]] = [
        alternatives.split(",") if first is None else range(int(first), int(last) + 1)
        for first, last, alternatives in zip(firsts, pieces[2::4], pieces[3::4], strict=True)
    ]
    count = prod(map(len, choices))
    if count > MAX_EXPANDED_NAMES:
        raise IndexerError(
            f"{redact_url(address)} expands to {count:,} names; the limit is {MAX_EXPANDED_NAMES:,}"
        )
    widths = [len(first or "") for first in firsts]
    names = []
    for values in product(*choices):
        padded = [str(value).zfill(width) for value, width in zip(values, widths, strict=True)]
        names.append("".join(chain.from_iterable(zip(texts, [*padded, ""], strict=True))))
    return names
