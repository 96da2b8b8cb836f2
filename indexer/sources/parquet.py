"""Pictures in Parquet files and in the folders of Hugging Face's `datasets`: a row is a picture.

A row holds the picture's bytes, or where it is: a path beside the table, or a URL, which is fetched
only where the user has named its host.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from embedder.images.decode import DecodeLimits, read_file
from indexer.captions.manifest import parse_caption_rows
from indexer.captions.resolver import FileCaptions
from indexer.errors import IndexerError
from indexer.paths import display_path
from indexer.skip_reasons import UnusableFileError
from indexer.sources.base import SkipCallback, SourceOptions, SourcePart
from indexer.sources.byte_source import make_byte_source
from indexer.sources.http.client import HttpClient
from indexer.sources.image_table import ImageTable, open_table
from indexer.sources.listed_files import check_size
from indexer.sources.paths import redact_row_urls, redact_url, url_scheme
from indexer.sources.walk import DiscoveredFile

ROW_DIGITS = 8  # of a row's number, so that rows are read in their order
DATASET_FILES = ("dataset_info.json", "state.json")  # of Dataset.save_to_disk
DATASET_DICT_FILE = "dataset_dict.json"  # of DatasetDict.save_to_disk


class ParquetSource:
    """A Parquet or Arrow file, or a folder of `datasets`. Paths are `FILE#ROW`."""

    is_folder = False

    def __init__(self, address: str, options: SourceOptions | None = None) -> None:
        self._address, self._options = address, options or SourceOptions()
        self.root = redact_url(address)
        self._tables: dict[str, ImageTable] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetSource, (self._address, self._options)

    def check_readable(self) -> None:
        if not self._list_files():
            raise IndexerError(f"{display_path(self.root)}: there are no tables in it")
        for file in self._list_files():
            self._open_table(file)

    def is_available(self) -> bool:
        try:
            return any(
                make_byte_source(file, self._http).stat().size for file in self._list_files()
            )
        except (IndexerError, UnusableFileError):
            return False

    def list_parts(self) -> list[SourcePart]:
        self.__dict__.pop("_marks", None)
        self._tables.clear()
        return [SourcePart(redact_url(file), self._file_etag(file)) for file in self._list_files()]

    def discover(self, part: SourcePart, on_skip: SkipCallback) -> Iterator[DiscoveredFile]:
        file = self._part_address(part.name)
        for row in range(self._open_table(file).num_rows):
            yield DiscoveredFile(
                f"{part.name}#{row:0{ROW_DIGITS}}", 0, self._file_mtime_ns(file), "image"
            )

    def compute_stamp(self, path: str) -> str:
        return self._file_etag(self._part_address(path.rpartition("#")[0]))

    def load_captions(self, path: str) -> FileCaptions:
        name, _, row = path.rpartition("#")
        fields = self._open_table(self._part_address(name)).read_fields(int(row))
        parsed = parse_caption_rows([redact_row_urls(fields)], name)
        return FileCaptions(
            parsed.captions, parsed.tags, dict(parsed.meta), self.compute_stamp(path)
        )

    def read(self, path: str, limits: DecodeLimits) -> bytes:
        name, _, row = path.rpartition("#")
        file = self._part_address(name)
        try:
            value = self._open_table(file).read_image(int(row))
        except IndexerError as error:
            raise UnusableFileError("unreadable", str(error)) from None
        except (IndexError, ValueError, OSError) as error:  # pyarrow's are of these
            raise UnusableFileError(
                "unreadable", f"the table has no such row now: {error}"
            ) from None
        reference = value
        if isinstance(value, dict):
            reference, value = value.get("path"), value.get("bytes")
        if isinstance(value, bytes):
            check_size(len(value), limits.max_bytes)
            return value
        if isinstance(reference, str) and reference.strip():
            return self._read_reference(file, reference.strip(), limits)
        raise UnusableFileError("empty", "there is no picture in this row")

    def _read_reference(self, file: str, reference: str, limits: DecodeLimits) -> bytes:
        """The picture that a row only points to."""
        if url_scheme(reference):
            return self._http.get(reference, limits.max_bytes).data
        if url_scheme(file) in {"http", "https"}:
            return self._http.get(urljoin(file, reference), limits.max_bytes).data
        if reference.startswith("/") and not url_scheme(file):
            path = reference
        else:
            path = posixpath.join(posixpath.dirname(file), reference)
        if url_scheme(file):
            return self._read_remote_reference(file, reference, path, limits)
        base = os.path.realpath(os.path.dirname(file))  # noqa: PTH120
        if not os.path.realpath(path).startswith(base + os.sep):
            raise UnusableFileError(
                "unreadable", f"{reference} is not beside the table, and is not read"
            )
        return read_file(path, limits)

    def _read_remote_reference(
        self, file: str, reference: str, path: str, limits: DecodeLimits
    ) -> bytes:
        if ".." in reference.split("/") or reference.startswith("/"):
            raise UnusableFileError(
                "unreadable", f"{reference} is not beside the table, and is not read"
            )
        blob = make_byte_source(path, self._http)
        return blob.read(0, check_size(blob.stat().size, limits.max_bytes))

    def _open_table(self, file: str) -> ImageTable:
        if file not in self._tables:
            local = None if url_scheme(file) else file
            try:
                blob = make_byte_source(file, self._http)
                self._tables[file] = open_table(blob, redact_url(file), local)
            except UnusableFileError as error:
                raise IndexerError(f"{display_path(redact_url(file))}: {error.detail}") from None
        return self._tables[file]

    def _file_etag(self, file: str) -> str:
        return str(self._stat_file(file)[0])

    def _file_mtime_ns(self, file: str) -> int:
        return int(self._stat_file(file)[1])

    def _stat_file(self, file: str) -> tuple[str, int]:
        if file not in self._marks:
            try:
                stat = make_byte_source(file, self._http).stat()
            except UnusableFileError as error:
                raise IndexerError(f"{display_path(redact_url(file))}: {error.detail}") from None
            self._marks[file] = (stat.etag, stat.mtime_ns)
        return self._marks[file]

    @cached_property
    def _marks(self) -> dict[str, tuple[str, int]]:
        return {}

    @cached_property
    def _http(self) -> HttpClient:
        own = self._address if url_scheme(self._address) in {"http", "https"} else None
        return HttpClient(own, self._options.allowed_hosts)

    def _part_address(self, name: str) -> str:
        return self._address if name == self.root else name

    def _list_files(self) -> list[str]:
        if url_scheme(self._address) or not Path(self._address).is_dir():
            return [self._address]
        return [str(path) for path in sorted(Path(self._address).glob("**/data-*.arrow"))]


def is_table_file(address: str) -> bool:
    """Whether a path or URL is called as a Parquet or an Arrow file is."""
    name = redact_url(address).lower()
    return name.endswith(".parquet") or (name.endswith(".arrow") and not url_scheme(address))


def is_dataset_folder(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` of `datasets` has written."""
    return (folder / DATASET_DICT_FILE).is_file() or all(
        (folder / name).is_file() for name in DATASET_FILES
    )
