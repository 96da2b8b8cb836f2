"""A list of images by URL: `https://host/list.csv`, `.tsv`, `.jsonl` with captions, or `.txt`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from urllib.parse import unquote, urljoin, urlsplit

from embedder.images.decode import DecodeLimits
from embedder.images.formats import detect_kind, unsupported_reason
from embedder.redaction import redacted_repr
from indexer.captions.manifest import (
    FILE_COLUMNS,
    MAX_BYTES,
    URL_COLUMNS,
    hash_rows,
    parse_caption_rows,
    parse_rows,
)
from indexer.captions.normalize import FileCaptions, Row
from indexer.errors import IndexerError, UnusableFileError, unreadable
from indexer.paths import canonicalize_url, redact_row_urls
from indexer.sources.base import Source, SourceFile, SourcePart, check_size
from indexer.types import SkipCallback, SkippedFile


@dataclass(slots=True)
class _ListedImage:
    """Where an image is ("" where the list has something else), and the list's rows about it."""

    url: str
    rows: list[Row] = field(default_factory=list)

    __repr__ = redacted_repr


class UrlListSource(Source):
    """Images at the URLs of a list. Paths are `LIST#URL`, relative to the list's folder.

    An image is fetched once: a change behind its URL is not noticed, a change of its row is.
    """

    def check_readable(self) -> None:
        _ = self._images

    def _has_content(self) -> bool:
        return bool(self._images)

    def list_parts(self) -> tuple[SourcePart]:
        return (SourcePart(self.root, blake2b(self._list_bytes, digest_size=12).hexdigest()),)

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[SourceFile]:
        for path, image in self._images.items():
            name = posixpath.basename(unquote(urlsplit(image.url).path))
            advice = unsupported_reason(name)
            try:
                if advice:
                    raise UnusableFileError("unsupported", advice)
                if not image.url:
                    raise UnusableFileError("remote", "not a URL that could be fetched")
                self._http.policy.check_url(image.url)
            except UnusableFileError as error:
                on_skip(SkippedFile(path, error.reason, error.detail))
                continue
            yield SourceFile(path, 0, 0, detect_kind(name) or "image")

    def compute_stamp(self, path: str) -> str:
        image = self._images.get(path)
        if image is None:
            return ""
        rows = [redact_row_urls(row) for row in image.rows]
        return hash_rows([{"url": canonicalize_url(image.url)}, *rows])

    def load_captions(self, path: str) -> FileCaptions:
        image = self._images.get(path)
        if image is None:
            return FileCaptions()
        url = canonicalize_url(image.url)
        data = parse_caption_rows(map(redact_row_urls, image.rows), posixpath.basename(url))
        return replace(data, meta={**data.meta, "url": url}, stamp=self.compute_stamp(path))

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        image = self._images.get(path)
        if image is None:
            raise unreadable("the list no longer has this row")
        data = self._http.get(image.url, limits.max_bytes).data
        check_size(len(data), limits.max_bytes)
        return data

    @cached_property
    def _list_bytes(self) -> bytes:
        try:
            return self._http.get(self._address, MAX_BYTES).data
        except UnusableFileError as error:
            raise IndexerError(f"{self.root}: {error.detail}") from None

    @cached_property
    def _images(self) -> dict[str, _ListedImage]:
        """Path -> image, in the order of the list."""
        images: dict[str, _ListedImage] = {}
        try:
            for file, row in _parse_list(self.root, self._list_bytes):
                try:
                    url = urljoin(self._address, file)
                    path = self._make_path(url, images)
                except ValueError:  # one bad row does not end the list
                    url, path = "", f"{self.root}#{file}"
                images.setdefault(path, _ListedImage(url)).rows.append(row)
        except ValueError as error:
            raise IndexerError(f"{self.root}: {error}") from None
        return images

    def _make_path(self, url: str, images: dict[str, _ListedImage]) -> str:
        """Return an image's path; two URLs that differ only in what looks like a key stay apart."""
        folder = self.root[: self.root.rindex("/") + 1]
        path = f"{self.root}#{canonicalize_url(url).removeprefix(folder)}"
        if path in images and images[path].url != url:
            path += "~" + blake2b(urlsplit(url).query.encode(), digest_size=6).hexdigest()
        return path


def _parse_list(name: str, data: bytes) -> Iterator[tuple[str, Row]]:
    if not name.lower().endswith(".txt"):
        yield from parse_rows(posixpath.basename(name), data, (*URL_COLUMNS, *FILE_COLUMNS))
        return
    for line in data.decode("utf-8", "replace").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.strip(), {}
