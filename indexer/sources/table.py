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

from indexer.captions import Described
from indexer.decode import Limits
from indexer.decode import read as read_file
from indexer.errors import IndexerError
from indexer.manifest import notes
from indexer.skips import Undecodable
from indexer.sources.addresses import clean, scheme, without_keys
from indexer.sources.blobs import blob_of
from indexer.sources.columns import Table, open_table
from indexer.sources.protocol import Part, Reading, Report
from indexer.sources.tree import checked_size
from indexer.sources.web import Web
from indexer.walk import Found, printable

DIGITS = 8  # of a row's number, so that rows are read in their order
SAVED = ("dataset_info.json", "state.json")  # of Dataset.save_to_disk
SPLITS = "dataset_dict.json"  # of DatasetDict.save_to_disk


class TableSource:
    """A Parquet or Arrow file, or a folder of `datasets`. Paths are `FILE#ROW`."""

    is_folder = False

    def __init__(self, address: str, reading: Reading | None = None) -> None:
        self._address, self._reading = address, reading or Reading()
        self.root = clean(address)
        self._tables: dict[str, Table] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return TableSource, (self._address, self._reading)

    def require(self) -> None:
        if not self._files():
            raise IndexerError(f"{printable(self.root)}: there are no tables in it")
        for file in self._files():
            self._table(file)

    def is_there(self) -> bool:
        try:
            return any(blob_of(file, self._web).stat().size for file in self._files())
        except (IndexerError, Undecodable):
            return False

    def parts(self) -> list[Part]:
        self.__dict__.pop("_marks", None)
        self._tables.clear()
        return [Part(clean(file), self._mark(file)) for file in self._files()]

    def found(self, part: Part, skip: Report) -> Iterator[Found]:
        file = self._file_of(part.name)
        for row in range(self._table(file).rows):
            yield Found(f"{part.name}#{row:0{DIGITS}}", 0, self._changed(file), "image")

    def stamp(self, path: str) -> str:
        return self._mark(self._file_of(path.rpartition("#")[0]))

    def captions_for(self, path: str) -> Described:
        name, _, row = path.rpartition("#")
        words = self._table(self._file_of(name)).words(int(row))
        said = notes([without_keys(words)], name)
        return Described(said.captions, said.tags, dict(said.meta), self.stamp(path))

    def read(self, path: str, limits: Limits) -> bytes:
        name, _, row = path.rpartition("#")
        file = self._file_of(name)
        try:
            value = self._table(file).picture(int(row))
        except IndexerError as error:
            raise Undecodable("unreadable", str(error)) from None
        except (IndexError, ValueError, OSError) as error:  # pyarrow's are of these
            raise Undecodable("unreadable", f"the table has no such row now: {error}") from None
        where = value
        if isinstance(value, dict):
            where, value = value.get("path"), value.get("bytes")
        if isinstance(value, bytes):
            checked_size(len(value), limits.bytes)
            return value
        if isinstance(where, str) and where.strip():
            return self._pointed(file, where.strip(), limits)
        raise Undecodable("empty", "there is no picture in this row")

    def _pointed(self, file: str, where: str, limits: Limits) -> bytes:
        """The picture that a row only points to."""
        if scheme(where):
            return self._web.get(where, limits.bytes).data
        if scheme(file) in {"http", "https"}:
            return self._web.get(urljoin(file, where), limits.bytes).data
        if where.startswith("/") and not scheme(file):
            path = where
        else:
            path = posixpath.join(posixpath.dirname(file), where)
        if scheme(file):
            return self._beside(file, where, path, limits)
        base = os.path.realpath(os.path.dirname(file))  # noqa: PTH120
        if not os.path.realpath(path).startswith(base + os.sep):
            raise Undecodable("unreadable", f"{where} is not beside the table, and is not read")
        return read_file(path, limits)

    def _beside(self, file: str, where: str, path: str, limits: Limits) -> bytes:
        if ".." in where.split("/") or where.startswith("/"):
            raise Undecodable("unreadable", f"{where} is not beside the table, and is not read")
        blob = blob_of(path, self._web)
        return blob.read(0, checked_size(blob.stat().size, limits.bytes))

    def _table(self, file: str) -> Table:
        if file not in self._tables:
            local = None if scheme(file) else file
            try:
                blob = blob_of(file, self._web)
                self._tables[file] = open_table(blob, clean(file), local)
            except Undecodable as error:
                raise IndexerError(f"{printable(clean(file))}: {error.detail}") from None
        return self._tables[file]

    def _mark(self, file: str) -> str:
        return str(self._stats(file)[0])

    def _changed(self, file: str) -> int:
        return int(self._stats(file)[1])

    def _stats(self, file: str) -> tuple[str, int]:
        if file not in self._marks:
            try:
                stat = blob_of(file, self._web).stat()
            except Undecodable as error:
                raise IndexerError(f"{printable(clean(file))}: {error.detail}") from None
            self._marks[file] = (stat.mark, stat.mtime_ns)
        return self._marks[file]

    @cached_property
    def _marks(self) -> dict[str, tuple[str, int]]:
        return {}

    @cached_property
    def _web(self) -> Web:
        own = self._address if scheme(self._address) in {"http", "https"} else None
        return Web(own, self._reading.hosts)

    def _file_of(self, name: str) -> str:
        return self._address if name == self.root else name

    def _files(self) -> list[str]:
        if scheme(self._address) or not Path(self._address).is_dir():
            return [self._address]
        return [str(path) for path in sorted(Path(self._address).glob("**/data-*.arrow"))]


def is_table(address: str) -> bool:
    """Whether a path or URL is called as a Parquet or an Arrow file is."""
    name = clean(address).lower()
    return name.endswith(".parquet") or (name.endswith(".arrow") and not scheme(address))


def is_dataset(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` of `datasets` has written."""
    return (folder / SPLITS).is_file() or all((folder / name).is_file() for name in SAVED)
