"""Tables of images: finds the image column, and reads rows out of large chunks."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

from embedder.images.formats import SNIFF_BYTES, sniff_format
from indexer.captions.manifest import FILE_COLUMNS
from indexer.errors import IndexerError
from indexer.sources.byte_source import ByteSource, LocalByteSource, open_buffered

if TYPE_CHECKING:
    import pyarrow as pa

MAX_CACHED_CHUNKS = 4  # two of images, two of fields: threads decode on both sides of a border
IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes")
URL_COLUMNS = ("url", "image_url", "img_url", "uri", "src")

ReadChunk = Callable[[int, list[str]], "pa.Table"]


class ImageTable:
    """An open Parquet or Arrow file. Thread-safe; raises what pyarrow raises."""

    def __init__(self, schema: pa.Schema, chunk_rows: list[int], read_chunk: ReadChunk) -> None:
        self.schema, self._read_chunk = schema, read_chunk
        self._first_rows = [0, *accumulate(chunk_rows)]
        self._chunks: OrderedDict[tuple[int, bool], pa.Table] = OrderedDict()
        self._lock = threading.Lock()
        self.image_column = self._find_image_column()

    @property
    def num_rows(self) -> int:
        return self._first_rows[-1]

    def read_image(self, row: int) -> object:
        """Return the row's image: bytes, a path or a URL, or {"bytes", "path"}."""
        return self._read_row(row, [self.image_column], is_image=True)[self.image_column]

    def read_fields(self, row: int) -> dict[str, object]:
        """Return the other columns of a row without bytes; class labels by their names."""
        others = [name for name in self.schema.names if name != self.image_column]
        fields = self._read_row(row, others, is_image=False) if others else {}
        class_names = self._class_names
        result: dict[str, object] = {}
        for key, value in fields.items():
            items = value.values() if isinstance(value, dict) else [value]
            if value is None or any(isinstance(item, bytes) for item in items):
                continue
            names = class_names.get(key, [])
            if isinstance(value, int) and 0 <= value < len(names):
                result[key] = names[value]
            else:
                result[key] = value
        return result

    @property
    def _class_names(self) -> dict[str, list[str]]:
        """The names of integer class labels, as Hugging Face's `datasets` stores them."""
        try:
            features = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
            return {k: v["names"] for k, v in features.items() if v.get("_type") == "ClassLabel"}
        except (KeyError, ValueError, TypeError, AttributeError):
            return {}

    def _read_row(self, row: int, columns: list[str], *, is_image: bool) -> dict[str, object]:
        chunk_index = bisect_right(self._first_rows, row) - 1
        with self._lock:
            key = (chunk_index, is_image)
            if key not in self._chunks:
                self._chunks[key] = self._read_chunk(chunk_index, columns)
            self._chunks.move_to_end(key)
            while len(self._chunks) > MAX_CACHED_CHUNKS:
                self._chunks.popitem(last=False)
            chunk = self._chunks[key]
        values: list[dict[str, object]] = chunk.slice(
            row - self._first_rows[chunk_index], 1
        ).to_pylist()
        return values[0]

    def _find_image_column(self) -> str:
        """Find the image column: by its name, else the one whose bytes are an image."""
        by_name = {field.name.lower(): field for field in self.schema}
        for name in (*IMAGE_COLUMNS, *URL_COLUMNS, *FILE_COLUMNS):
            field = by_name.get(name)
            if field is not None and (_holds_images(field) or _is_string_column(field)):
                return str(field.name)
        columns = [
            field.name
            for field in self.schema
            if _holds_images(field) and self._contains_image(field.name)
        ]
        if len(columns) == 1:
            return str(columns[0])
        raise ValueError(
            f"it has no image column, only {', '.join(self.schema.names[:20])}; expected a column "
            f"of bytes, paths or URLs called {', '.join(IMAGE_COLUMNS[:4])}, file_name or url"
        )

    def _contains_image(self, column: str) -> bool:
        if not self.num_rows:
            return False
        value = self._read_chunk(0, [column]).slice(0, 1).to_pylist()[0][column]
        data = value.get("bytes") if isinstance(value, dict) else value
        return isinstance(data, bytes) and sniff_format(data[:SNIFF_BYTES]) is not None


def open_table(byte_source: ByteSource, name: str, path: str | None) -> ImageTable:
    """Open a table; raises `IndexerError`.

    Args:
        byte_source: The file.
        name: The file's name for messages.
        path: The file's path on this machine, which Arrow files need.
    """
    import pyarrow as pa

    try:
        if path and name.endswith(".arrow"):
            return _open_arrow(path)
        return _open_parquet(byte_source)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IndexerError(f"{name}: {' '.join(str(error).split())[:300]}") from None


def _open_parquet(byte_source: ByteSource) -> ImageTable:
    import pyarrow.parquet as pq

    is_local = isinstance(byte_source, LocalByteSource)
    file = pq.ParquetFile(open_buffered(byte_source), pre_buffer=not is_local)
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


def _is_string_column(field: pa.Field) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
