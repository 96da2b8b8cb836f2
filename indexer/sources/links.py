"""A list of pictures by URL: `https://host/list.csv`, `.tsv`, `.jsonl` with captions, or `.txt`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from indexer.captions import Described
from indexer.decode import Limits
from indexer.errors import IndexerError
from indexer.kinds import refused
from indexer.manifest import FILE_COLUMNS, MAX_BYTES, Row, notes, parse_rows
from indexer.manifest import stamp as stamp_of
from indexer.skips import Undecodable
from indexer.sources.addresses import clean, picture_name, without_keys
from indexer.sources.columns import URL_COLUMNS
from indexer.sources.protocol import Part, Reading, Report
from indexer.sources.tree import kind_named
from indexer.sources.web import Web
from indexer.types import Skip
from indexer.walk import Found

LISTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")


@dataclass(slots=True)
class _Link:
    """One picture: where it is, and what the list says of it."""

    url: str
    rows: list[Row] = field(default_factory=list)


class LinkSource:
    """Pictures at the URLs of a list. Paths are `LIST#URL`, relative to the list's folder.

    Fetched once: a picture that changes behind its URL is not noticed, a row that changes is.
    """

    is_folder = False

    def __init__(self, address: str, reading: Reading | None = None) -> None:
        self._address, self._reading = address, reading or Reading()
        self.root = clean(address)

    def __reduce__(self) -> tuple[Any, ...]:
        return LinkSource, (self._address, self._reading)

    def require(self) -> None:
        _ = self._links

    def is_there(self) -> bool:
        try:
            return bool(self._links)
        except IndexerError:
            return False

    def parts(self) -> tuple[Part]:
        return (Part(self.root, blake2b(self._data, digest_size=12).hexdigest()),)

    def found(self, part: Part, skip: Report) -> Iterator[Found]:
        for path, link in self._links.items():
            name = posixpath.basename(unquote(urlsplit(link.url).path))
            advice = refused(name)
            try:
                if advice:
                    raise Undecodable("unsupported", advice)
                self._web.reach.require(link.url)
            except Undecodable as error:
                skip(Skip(path, error.reason, error.detail))
                continue
            yield Found(path, 0, 0, kind_named(name))

    def stamp(self, path: str) -> str:
        link = self._links.get(path)
        if link is None:
            return ""
        return stamp_of([{"url": picture_name(link.url)}, *(without_keys(r) for r in link.rows)])

    def captions_for(self, path: str) -> Described:
        link = self._links.get(path)
        if link is None:
            return Described()
        url = picture_name(link.url)
        said = notes([without_keys(row) for row in link.rows], posixpath.basename(url))
        return Described(said.captions, said.tags, {**said.meta, "url": url}, self.stamp(path))

    def read(self, path: str, limits: Limits) -> bytes:
        link = self._links.get(path)
        if link is None:
            raise Undecodable("unreadable", "the list has no such row now")
        data = self._web.get(link.url, limits.bytes).data
        if not data:
            raise Undecodable("empty", "0 bytes")
        return data

    @cached_property
    def _web(self) -> Web:
        return Web(self._address, self._reading.hosts)

    @cached_property
    def _data(self) -> bytes:
        try:
            return self._web.get(self._address, MAX_BYTES).data
        except Undecodable as error:
            raise IndexerError(f"{self.root}: {error.detail}") from None

    @cached_property
    def _links(self) -> dict[str, _Link]:
        """Path -> picture, in the order of the list."""
        links: dict[str, _Link] = {}
        try:
            for file, row in _rows(self.root, self._data):
                url = urljoin(self._address, file)
                links.setdefault(self._path(url, links), _Link(url)).rows.append(row)
        except ValueError as error:
            raise IndexerError(f"{self.root}: {error}") from None
        return links

    def _path(self, url: str, known: dict[str, _Link]) -> str:
        """The path of a picture; two URLs that differ in what looks like a key alone stay two."""
        folder = self.root[: self.root.rindex("/") + 1]
        path = f"{self.root}#{picture_name(url).removeprefix(folder)}"
        if path in known and known[path].url != url:
            path += "~" + blake2b(urlsplit(url).query.encode(), digest_size=6).hexdigest()
        return path


def is_list(address: str) -> bool:
    """Whether a web address is called as a list of pictures is."""
    return clean(address).lower().endswith(LISTS)


def _rows(name: str, data: bytes) -> Iterator[tuple[str, Row]]:
    if not name.lower().endswith(".txt"):
        yield from parse_rows(posixpath.basename(name), data, (*URL_COLUMNS, *FILE_COLUMNS))
        return
    for line in data.decode("utf-8", "replace").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip(), {}
