"""Images in Parquet and Arrow files and in folders of Hugging Face's `datasets`, one per row.

A row holds the image's bytes or where it is: a path beside the table, or a URL, which is fetched
only if the user has named its host.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import urljoin

from embedder.images.decode import DecodeLimits, read_file
from indexer.captions.manifest import parse_caption_rows
from indexer.captions.normalize import FileCaptions
from indexer.errors import IndexerError
from indexer.paths import display_path, is_web, redact_row_urls, redact_url, url_scheme
from indexer.skip_reasons import UnusableFileError, unreadable
from indexer.sources.base import Source, SourceFile, SourcePart, check_size
from indexer.sources.byte_source import FileStat, make_byte_source
from indexer.sources.image_table import ImageTable, open_table
from indexer.types import SkipCallback

ROW_DIGITS = 8  # so that paths sort in the order of the rows


class ParquetSource(Source):
    """A Parquet or Arrow file, or a folder of `datasets`. Paths are `FILE#ROW`."""

    def check_readable(self) -> None:
        files = self._list_files()
        if not files:
            raise IndexerError(f"{display_path(self.root)}: there are no tables in it")
        for file in files:
            self._open_table(file)

    def _has_content(self) -> bool:
        return any(make_byte_source(file, self._http).stat().size for file in self._list_files())

    def list_parts(self) -> list[SourcePart]:
        self._stats.clear()
        self._tables.clear()
        return [
            SourcePart(redact_url(file), self._stat_file(file).etag) for file in self._list_files()
        ]

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[SourceFile]:
        file = self._part_address(part.name)
        mtime_ns = self._stat_file(file).mtime_ns
        for row in range(self._open_table(file).num_rows):
            yield SourceFile(f"{part.name}#{row:0{ROW_DIGITS}}", 0, mtime_ns, "image")

    def compute_stamp(self, path: str) -> str:
        return self._stat_file(self._part_address(path.rpartition("#")[0])).etag

    def load_captions(self, path: str) -> FileCaptions:
        name, _, row = path.rpartition("#")
        fields = self._open_table(self._part_address(name)).read_fields(int(row))
        data = parse_caption_rows([redact_row_urls(fields)], name)
        return FileCaptions(data.captions, data.tags, dict(data.meta), self.compute_stamp(path))

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        name, _, row = path.rpartition("#")
        file = self._part_address(name)
        try:
            value = self._open_table(file).read_image(int(row))
        except IndexerError as error:
            raise unreadable(error) from None
        except (IndexError, ValueError, OSError) as error:  # pyarrow's errors are among these
            raise unreadable(f"the table no longer has this row: {error}") from None
        reference = value
        if isinstance(value, dict):
            reference, value = value.get("path"), value.get("bytes")
        if isinstance(value, bytes):
            check_size(len(value), limits.max_bytes)
            return value
        if isinstance(reference, str) and reference.strip():
            return self._read_reference(file, reference.strip(), limits)
        raise UnusableFileError("empty", "there is no image in this row")

    def _read_reference(self, file: str, reference: str, limits: DecodeLimits) -> bytes:
        """Read the image that a row points to."""
        if url_scheme(reference):
            return self._http.get(reference, limits.max_bytes).data
        if is_web(file):
            return self._http.get(urljoin(file, reference), limits.max_bytes).data
        path = posixpath.join(posixpath.dirname(file), reference)
        if url_scheme(file):
            if ".." in reference.split("/") or reference.startswith("/"):
                raise _not_beside_table(reference)
            byte_source = make_byte_source(path, self._http)
            return byte_source.read(0, check_size(byte_source.stat().size, limits.max_bytes))
        base = os.path.realpath(os.path.dirname(file))  # noqa: PTH120
        if not os.path.realpath(path).startswith(base + os.sep):
            raise _not_beside_table(reference)
        return read_file(path, limits)

    def _open_table(self, file: str) -> ImageTable:
        if file not in self._tables:
            local = None if url_scheme(file) else file
            try:
                byte_source = make_byte_source(file, self._http)
                self._tables[file] = open_table(byte_source, redact_url(file), local)
            except UnusableFileError as error:
                raise IndexerError(f"{display_path(redact_url(file))}: {error.detail}") from None
        return self._tables[file]

    def _stat_file(self, file: str) -> FileStat:
        if file not in self._stats:
            try:
                self._stats[file] = make_byte_source(file, self._http).stat()
            except UnusableFileError as error:
                raise IndexerError(f"{display_path(redact_url(file))}: {error.detail}") from None
        return self._stats[file]

    @cached_property
    def _tables(self) -> dict[str, ImageTable]:
        return {}

    @cached_property
    def _stats(self) -> dict[str, FileStat]:
        return {}

    def _part_address(self, name: str) -> str:
        return self._address if name == self.root else name

    def _list_files(self) -> list[str]:
        if url_scheme(self._address) or not Path(self._address).is_dir():
            return [self._address]
        return [str(path) for path in sorted(Path(self._address).glob("**/data-*.arrow"))]


def _not_beside_table(reference: str) -> UnusableFileError:
    return unreadable(f"{reference} is not beside the table, so it is not read")
