"""Tables of pictures: which column holds them, and rows read one by one out of large pieces."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from indexer.errors import IndexerError
from indexer.kinds import HEAD, sniff
from indexer.manifest import FILE_COLUMNS
from indexer.sources.blobs import Blob, LocalBlob, opened

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = 2  # pieces in memory: threads that decode stand at the border of two
IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes")
URL_COLUMNS = ("url", "image_url", "img_url", "uri", "src")

Piece = Callable[[int, list[str]], "pa.Table"]


class Table:
    """A Parquet or Arrow file, opened. Thread-safe; raises what pyarrow raises."""

    def __init__(self, schema: pa.Schema, sizes: list[int], piece: Piece) -> None:
        self.schema, self._piece = schema, piece
        self._starts = [0, *accumulate(sizes)]
        self._kept: OrderedDict[tuple[int, bool], pa.Table] = OrderedDict()
        self._lock = threading.Lock()
        self.image = self._image_column()

    @property
    def rows(self) -> int:
        return self._starts[-1]

    def picture(self, row: int) -> object:
        """What the row's picture is: bytes, a path or a URL, or {"bytes", "path"}."""
        return self._row(row, [self.image], picture=True)[self.image]

    def words(self, row: int) -> dict[str, object]:
        """The other columns of a row, bytes left out; classes by their names."""
        others = [name for name in self.schema.names if name != self.image]
        values = self._row(row, others, picture=False) if others else {}
        classes = self._classes
        return {
            key: _class_name(classes.get(key, ()), value)
            for key, value in values.items()
            if value is not None and not _holds_bytes(value)
        }

    @property
    def _classes(self) -> dict[str, list[str]]:
        """Columns whose numbers stand for names, as Hugging Face's `datasets` notes them."""
        try:
            told = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
            return {k: v["names"] for k, v in told.items() if v.get("_type") == "ClassLabel"}
        except (KeyError, ValueError, TypeError, AttributeError):
            return {}

    def _row(self, row: int, columns: list[str], *, picture: bool) -> dict[str, object]:
        number = bisect_right(self._starts, row) - 1
        with self._lock:
            key = (number, picture)
            if key not in self._kept:
                self._kept[key] = self._piece(number, columns)
            self._kept.move_to_end(key)
            while len(self._kept) > 2 * KEPT:
                self._kept.popitem(last=False)
            piece = self._kept[key]
        values: list[dict[str, object]] = piece.slice(row - self._starts[number], 1).to_pylist()
        return values[0]

    def _image_column(self) -> str:
        """The column of pictures: by its name, else the one whose bytes are a picture's."""
        by_name = {field.name.lower(): field for field in self.schema}
        for name in (*IMAGE_COLUMNS, *URL_COLUMNS, *FILE_COLUMNS):
            field = by_name.get(name)
            if field is not None and (_holds_pictures(field) or _is_text(field)):
                return str(field.name)
        found = [f.name for f in self.schema if _holds_pictures(f) and self._shows(f.name)]
        if len(found) == 1:
            return str(found[0])
        raise ValueError(
            f"it has no column of pictures, only {', '.join(self.schema.names[:20])}; one is "
            f"expected of bytes, paths or URLs, called {', '.join(IMAGE_COLUMNS[:4])}, file_name "
            "or url"
        )

    def _shows(self, column: str) -> bool:
        if not self.rows:
            return False
        value = self._piece(0, [column]).slice(0, 1).to_pylist()[0][column]
        data = value.get("bytes") if isinstance(value, dict) else value
        return isinstance(data, bytes) and sniff(data[:HEAD]) is not None


def open_table(blob: Blob, name: str, path: str | None) -> Table:
    """The table in a file; an Arrow file is on this machine, at `path`. Raises `IndexerError`."""
    import pyarrow as pa

    try:
        return _arrow(path) if path and name.endswith(".arrow") else _parquet(blob)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IndexerError(f"{name}: {' '.join(str(error).split())[:300]}") from None


def _parquet(blob: Blob) -> Table:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(opened(blob), pre_buffer=not isinstance(blob, LocalBlob))
    told = file.metadata
    sizes = [told.row_group(i).num_rows for i in range(told.num_row_groups)]
    return Table(file.schema_arrow, sizes, lambda i, names: file.read_row_group(i, columns=names))


def _arrow(path: str) -> Table:
    import pyarrow as pa

    source = pa.memory_map(path)
    try:
        whole = pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        whole = pa.ipc.open_file(source).read_all()
    return Table(whole.schema, [whole.num_rows], lambda _, names: whole.select(names))


def _holds_pictures(field: pa.Field) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(field.type):
        return any(field.type.get_field_index(name) >= 0 for name in ("bytes", "path"))
    return bool(pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))


def _is_text(field: pa.Field) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(field.type) or pa.types.is_large_string(field.type))


def _holds_bytes(value: object) -> bool:
    return isinstance(value, bytes) or (
        isinstance(value, dict) and any(isinstance(item, bytes) for item in value.values())
    )


def _class_name(names: Sequence[str], value: object) -> object:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
