"""A list of pictures by URL: `https://host/list.csv`, `.tsv`, `.jsonl` with captions, or `.txt`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from embedder.images.decode import DecodeLimits
from embedder.images.formats import unsupported_reason
from indexer.captions.manifest import FILE_COLUMNS, MAX_BYTES, Row, parse_caption_rows, parse_rows
from indexer.captions.manifest import hash_rows as stamp_of
from indexer.captions.resolver import FileCaptions
from indexer.errors import IndexerError
from indexer.skip_reasons import UnusableFileError
from indexer.sources.base import SkipCallback, SourceOptions, SourcePart
from indexer.sources.http.client import HttpClient
from indexer.sources.image_table import URL_COLUMNS
from indexer.sources.listed_files import guess_kind
from indexer.sources.paths import canonicalize_url, redact_row_urls, redact_url
from indexer.sources.walk import DiscoveredFile
from indexer.types import SkippedFile

LIST_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")


@dataclass(slots=True)
class _ListedImage:
    """One picture: where it is, and what the list says of it."""

    url: str
    rows: list[Row] = field(default_factory=list)


class UrlListSource:
    """Pictures at the URLs of a list. Paths are `LIST#URL`, relative to the list's folder.

    Fetched once: a picture that changes behind its URL is not noticed, a row that changes is.
    """

    is_folder = False

    def __init__(self, address: str, options: SourceOptions | None = None) -> None:
        self._address, self._options = address, options or SourceOptions()
        self.root = redact_url(address)

    def __reduce__(self) -> tuple[Any, ...]:
        return UrlListSource, (self._address, self._options)

    def check_readable(self) -> None:
        _ = self._images

    def is_available(self) -> bool:
        try:
            return bool(self._images)
        except IndexerError:
            return False

    def list_parts(self) -> tuple[SourcePart]:
        return (SourcePart(self.root, blake2b(self._list_bytes, digest_size=12).hexdigest()),)

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        for path, image in self._images.items():
            name = posixpath.basename(unquote(urlsplit(image.url).path))
            unsupported = unsupported_reason(name)
            try:
                if unsupported:
                    raise UnusableFileError("unsupported", unsupported)
                self._http.policy.check_url(image.url)
            except UnusableFileError as error:
                on_skip(SkippedFile(path, error.reason, error.detail))
                continue
            yield DiscoveredFile(path, 0, 0, guess_kind(name))

    def compute_stamp(self, path: str) -> str:
        image = self._images.get(path)
        if image is None:
            return ""
        return stamp_of(
            [{"url": canonicalize_url(image.url)}, *(redact_row_urls(r) for r in image.rows)]
        )

    def load_captions(self, path: str) -> FileCaptions:
        image = self._images.get(path)
        if image is None:
            return FileCaptions()
        url = canonicalize_url(image.url)
        parsed = parse_caption_rows(
            [redact_row_urls(row) for row in image.rows], posixpath.basename(url)
        )
        return FileCaptions(
            parsed.captions, parsed.tags, {**parsed.meta, "url": url}, self.compute_stamp(path)
        )

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        image = self._images.get(path)
        if image is None:
            raise UnusableFileError("unreadable", "the list has no such row now")
        data = self._http.get(image.url, limits.max_bytes).data
        if not data:
            raise UnusableFileError("empty", "0 bytes")
        return data

    @cached_property
    def _http(self) -> HttpClient:
        return HttpClient(self._address, self._options.allowed_hosts)

    @cached_property
    def _list_bytes(self) -> bytes:
        try:
            return self._http.get(self._address, MAX_BYTES).data
        except UnusableFileError as error:
            raise IndexerError(f"{self.root}: {error.detail}") from None

    @cached_property
    def _images(self) -> dict[str, _ListedImage]:
        """Path -> picture, in the order of the list."""
        images: dict[str, _ListedImage] = {}
        try:
            for file, row in _parse_list(self.root, self._list_bytes):
                url = urljoin(self._address, file)
                images.setdefault(self._make_path(url, images), _ListedImage(url)).rows.append(row)
        except ValueError as error:
            raise IndexerError(f"{self.root}: {error}") from None
        return images

    def _make_path(self, url: str, images: dict[str, _ListedImage]) -> str:
        """The path of a picture; two URLs that differ in what looks like a key alone stay two."""
        folder = self.root[: self.root.rindex("/") + 1]
        path = f"{self.root}#{canonicalize_url(url).removeprefix(folder)}"
        if path in images and images[path].url != url:
            path += "~" + blake2b(urlsplit(url).query.encode(), digest_size=6).hexdigest()
        return path


def is_url_list(address: str) -> bool:
    """Whether a web address is called as a list of pictures is."""
    return redact_url(address).lower().endswith(LIST_EXTENSIONS)


def _parse_list(name: str, data: bytes) -> Iterator[tuple[str, Row]]:
    if not name.lower().endswith(".txt"):
        yield from parse_rows(posixpath.basename(name), data, (*URL_COLUMNS, *FILE_COLUMNS))
        return
    for line in data.decode("utf-8", "replace").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip(), {}
