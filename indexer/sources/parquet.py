"""Images in Parquet and Arrow files and in folders of Hugging Face's `datasets`, one per row.

A row holds the image's bytes or where it is: a path beside the table, or a URL, which is fetched
only if the user has named its host.
"""

from __future__ import annotations

import json
import os
import posixpath
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from embedder.extras import require_extra
from embedder.images.decode import DecodeLimits, read_file
from embedder.images.formats import SNIFF_BYTES, sniff_format
from indexer.captions.manifest import FILE_COLUMNS, URL_COLUMNS, parse_caption_rows
from indexer.captions.normalize import FileCaptions
from indexer.errors import IndexerError, UnusableFileError, unreadable
from indexer.paths import (
    display_path,
    is_web,
    leads_outside,
    redact_row_urls,
    redact_url,
    url_scheme,
)
from indexer.sources.base import Source, SourceFile, SourcePart, check_size
from indexer.sources.filesystem import ByteSource, FileStat, make_byte_source
from indexer.types import SkipCallback

if TYPE_CHECKING:
    import pyarrow as pa

ROW_DIGITS = 8  # so that paths sort in the order of the rows
MAX_CACHED_CHUNKS = 4  # two of images, two of fields: threads decode on both sides of a border
IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes")


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
        return replace(data, stamp=self.compute_stamp(path))

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
        if url_scheme(reference) or is_web(file):
            try:
                url = urljoin(file, reference)
            except ValueError:
                raise UnusableFileError("remote", "not a URL that could be fetched") from None
            return self._http.get(url, limits.max_bytes).data
        path = posixpath.join(posixpath.dirname(file), reference)
        if url_scheme(file):
            is_beside = ".." not in reference.split("/") and not reference.startswith("/")
        else:
            base = os.path.realpath(os.path.dirname(file))  # noqa: PTH120
            is_beside = os.path.realpath(path).startswith(base + os.sep)
        if not is_beside:
            raise unreadable(f"{reference} is not beside the table, so it is not read")
        if not url_scheme(file):
            return read_file(path, limits)
        byte_source = make_byte_source(path, self._http)
        return byte_source.read(0, check_size(byte_source.stat().size, limits.max_bytes))

    def _open_table(self, file: str) -> ImageTable:
        if file not in self._tables:
            with _raise_indexer_error(file):
                is_arrow = not url_scheme(file) and file.endswith(".arrow")
                byte_source = make_byte_source(file, self._http)
                self._tables[file] = _open_arrow(file) if is_arrow else _open_parquet(byte_source)
        return self._tables[file]

    def _stat_file(self, file: str) -> FileStat:
        if file not in self._stats:
            with _raise_indexer_error(file):
                self._stats[file] = make_byte_source(file, self._http).stat()
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
        files = sorted(map(str, Path(self._address).glob("**/data-*.arrow")))
        return [file for file in files if not leads_outside(file, self._options.within)]


@contextmanager
def _raise_indexer_error(file: str) -> Iterator[None]:
    """Turn whatever is wrong with a table into an `IndexerError`."""
    require_extra("tables")
    import pyarrow as pa

    try:
        yield
    except (UnusableFileError, pa.ArrowException, OSError, ValueError) as error:
        detail = " ".join(str(error).split())[:300]
        raise IndexerError(f"{display_path(redact_url(file))}: {detail}") from None


class ImageTable:
    """An open Parquet or Arrow file. Thread-safe; raises what pyarrow raises.

    Args:
        schema: Its columns.
        chunk_rows: How many rows each chunk has.
        read_chunk: Reads these columns of a chunk.
    """

    def __init__(
        self,
        schema: pa.Schema,
        chunk_rows: list[int],
        read_chunk: Callable[[int, tuple[str, ...]], pa.Table],
    ) -> None:
        self._schema = schema
        self._first_rows = [0, *accumulate(chunk_rows)]
        self._read_chunk = lru_cache(maxsize=MAX_CACHED_CHUNKS)(read_chunk)
        self._lock = threading.Lock()
        self._image_column = self._find_image_column()

    @property
    def num_rows(self) -> int:
        return self._first_rows[-1]

    def read_image(self, row: int) -> object:
        """Return the row's image: bytes, a path or a URL, or {"bytes", "path"}."""
        return self._read_row(row, (self._image_column,))[self._image_column]

    def read_fields(self, row: int) -> dict[str, object]:
        """Return the other columns of a row without bytes; class labels by their names."""
        others = tuple(name for name in self._schema.names if name != self._image_column)
        result: dict[str, object] = {}
        for key, value in self._read_row(row, others).items() if others else ():
            items = value.values() if isinstance(value, dict) else [value]
            if value is None or any(isinstance(item, bytes) for item in items):
                continue
            names = self._class_names.get(key, [])
            if isinstance(value, int) and 0 <= value < len(names):
                result[key] = names[value]
            else:
                result[key] = value
        return result

    @cached_property
    def _class_names(self) -> dict[str, list[str]]:
        """The names of integer class labels, as Hugging Face's `datasets` stores them."""
        try:
            features = json.loads((self._schema.metadata or {})[b"huggingface"])["info"]["features"]
            return {k: v["names"] for k, v in features.items() if v.get("_type") == "ClassLabel"}
        except (KeyError, ValueError, TypeError, AttributeError):
            return {}

    def _read_row(self, row: int, columns: tuple[str, ...]) -> dict[str, object]:
        chunk_index = bisect_right(self._first_rows, row) - 1
        with self._lock:
            chunk = self._read_chunk(chunk_index, columns)
        rows: list[dict[str, object]] = chunk.slice(
            row - self._first_rows[chunk_index], 1
        ).to_pylist()
        return rows[0]

    def _find_image_column(self) -> str:
        """Find the image column: by its name, else the one whose bytes are an image."""
        by_name = {field.name.lower(): field for field in self._schema}
        for name in (*IMAGE_COLUMNS, *URL_COLUMNS, *FILE_COLUMNS):
            field = by_name.get(name)
            if field is not None and (_holds_images(field) or _holds_text(field)):
                return str(field.name)
        columns = [
            str(field.name)
            for field in self._schema
            if _holds_images(field) and self._contains_image(field.name)
        ]
        if len(columns) == 1:
            return columns[0]
        raise ValueError(
            f"it has no image column, only {', '.join(self._schema.names[:20])}; expected a column "
            f"of bytes, paths or URLs called {', '.join(IMAGE_COLUMNS[:4])}, file_name or url"
        )

    def _contains_image(self, column: str) -> bool:
        if not self.num_rows:
            return False
        value = self._read_row(0, (column,))[column]
        data = value.get("bytes") if isinstance(value, dict) else value
        return isinstance(data, bytes) and sniff_format(data[:SNIFF_BYTES]) is not None


def _open_parquet(byte_source: ByteSource) -> ImageTable:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(byte_source.open(), pre_buffer=not byte_source.is_local)
    groups = range(file.metadata.num_row_groups)
    chunk_rows = [file.metadata.row_group(i).num_rows for i in groups]
    return ImageTable(
        file.schema_arrow, chunk_rows, lambda i, names: file.read_row_group(i, columns=names)
    )


def _open_arrow(path: str) -> ImageTable:
    import pyarrow as pa

    source = pa.memory_map(path)
    try:
        table = pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        table = pa.ipc.open_file(source).read_all()
    return ImageTable(table.schema, [table.num_rows], lambda _, names: table.select(names))


def _holds_images(field: pa.Field) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(field.type):
        return any(field.type.get_field_index(name) >= 0 for name in ("bytes", "path"))
    return bool(pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))


def _holds_text(field: pa.Field) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
