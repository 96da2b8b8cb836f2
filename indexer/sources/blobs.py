"""One file, here or at a URL, of which pieces can be read: what archives and tables stand on."""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexer.skips import Undecodable
from indexer.sources.addresses import clean, scheme
from indexer.sources.failures import connect, explained
from indexer.sources.stats import mark_of, mtime_of
from indexer.sources.web import Web

AHEAD = 4 << 20  # bytes read at a time from what is not on this machine
MOST = 1 << 62


class Stat(NamedTuple):
    """`mark` changes when the file does."""

    size: int
    mtime_ns: int
    mark: str


class Blob(Protocol):
    """Every method raises `Undecodable`."""

    def stat(self) -> Stat: ...
    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end), fewer where the file ends before."""
        ...


def blob_of(address: str, web: Web | None = None) -> Blob:
    """The file at a path or a URL; nothing is opened yet. `web` is what fetches by HTTP. Raises
    `IndexerError` for a protocol that is not there."""
    kind = scheme(address)
    if not kind:
        return LocalBlob(address)
    return WebBlob(address, web) if kind in {"http", "https"} else StoredBlob(address)


class LocalBlob:
    def __init__(self, path: str) -> None:
        self._path = path

    def stat(self) -> Stat:
        try:
            status = Path(self._path).stat()
        except OSError as error:
            raise Undecodable("unreadable", error.strerror or str(error)) from None
        return Stat(status.st_size, status.st_mtime_ns, f"{status.st_size} {status.st_mtime_ns}")

    def read(self, start: int, end: int) -> bytes:
        try:
            with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123
                return b"".join(_pread(file.fileno(), start, end))
        except OSError as error:
            raise Undecodable("unreadable", error.strerror or str(error)) from None


class StoredBlob:
    """A file of any file system that fsspec knows."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._fs, self._path = connect(address)

    def stat(self) -> Stat:
        try:
            self._fs.invalidate_cache()
            info = self._fs.info(self._path)
        except Exception as error:
            raise Undecodable("unreadable", explained(error, self._address)) from None
        return Stat(int(info.get("size") or 0), mtime_of(info), mark_of(info))

    def read(self, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        try:
            return bytes(self._fs.cat_file(self._path, start=start, end=end))
        except Exception as error:
            raise Undecodable("unreadable", explained(error, self._address)) from None


class WebBlob:
    def __init__(self, address: str, web: Web | None) -> None:
        self._address, self._web = address, web or Web(address)

    @cached_property
    def _first(self) -> Stat:
        answer = self._web.get(self._address, limit=MOST, end=1)
        fields = answer.fields
        told = fields.get("content-range", "").rpartition("/")[2] if answer.partial else ""
        size = told or fields.get("content-length", "")
        if not size.isdigit():
            raise Undecodable("unreadable", f"{clean(self._address)}: the server tells no size")
        changed = fields.get("last-modified", "")
        mark = f"{size} {fields.get('etag', '')} {changed}"
        return Stat(int(size), mtime_of({"last-modified": changed}), mark)

    def stat(self) -> Stat:
        return self._first

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self._first.size)
        return self._web.get(self._address, MOST, start, end).data if end > start else b""


class Ranged(io.RawIOBase):
    """A blob as a file that can be read and sought in, as tarfile and pyarrow want it."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self._at, self._size = blob, 0, blob.stat().size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._blob.read(self._at, self._at + len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def opened(blob: Blob) -> io.BufferedReader:
    """The blob as a file, read in large pieces."""
    return io.BufferedReader(Ranged(blob), 1 << 16 if isinstance(blob, LocalBlob) else AHEAD)


def _pread(file: int, start: int, end: int) -> Any:
    while start < end:
        piece = os.pread(file, end - start, start)
        if not piece:
            return
        yield piece
        start += len(piece)
