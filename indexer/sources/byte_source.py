"""A file, here or at a URL, that can be read in ranges: for archives and tables."""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexer.paths import is_web, redact_url, url_scheme
from indexer.skip_reasons import unreadable
from indexer.sources.filesystem import (
    build_etag,
    describe_error,
    open_filesystem,
    parse_mtime_ns,
)
from indexer.sources.http_client import HttpClient

READ_AHEAD_BYTES = 4 << 20  # for files that are not on this machine
UNLIMITED = 1 << 62


class FileStat(NamedTuple):
    """`etag` changes when the file does."""

    size: int
    mtime_ns: int
    etag: str


class ByteSource(Protocol):
    """Every method raises `UnusableFileError`."""

    def stat(self) -> FileStat: ...
    def read(self, start: int, end: int) -> bytes:
        """Return the bytes of [start, end), fewer if the file ends before."""
        ...


def make_byte_source(address: str, http: HttpClient | None = None) -> ByteSource:
    """Return the file at a path or a URL; nothing is opened or requested yet.

    Raises:
        IndexerError: The protocol is not available.
    """
    if not url_scheme(address):
        return LocalByteSource(address)
    return HttpByteSource(address, http) if is_web(address) else FilesystemByteSource(address)


class LocalByteSource:
    def __init__(self, path: str) -> None:
        self._path = path

    def stat(self) -> FileStat:
        try:
            status = Path(self._path).stat()
        except OSError as error:
            raise unreadable(error.strerror or error) from None
        size, mtime_ns = status.st_size, status.st_mtime_ns
        return FileStat(size, mtime_ns, f"{size} {mtime_ns}")

    def read(self, start: int, end: int) -> bytes:
        try:
            with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123
                data = bytearray()
                while start < end:
                    chunk = os.pread(file.fileno(), end - start, start)
                    if not chunk:
                        break
                    data += chunk
                    start += len(chunk)
                return bytes(data)
        except OSError as error:
            raise unreadable(error.strerror or error) from None


class FilesystemByteSource:
    """A file of a file system that fsspec knows."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._fs, self._path = open_filesystem(address)

    def stat(self) -> FileStat:
        try:
            self._fs.invalidate_cache()
            info = self._fs.info(self._path)
        except Exception as error:
            raise unreadable(describe_error(error, self._address)) from None
        return FileStat(int(info.get("size") or 0), parse_mtime_ns(info), build_etag(info))

    def read(self, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        try:
            return bytes(self._fs.cat_file(self._path, start=start, end=end))
        except Exception as error:
            raise unreadable(describe_error(error, self._address)) from None


class HttpByteSource:
    def __init__(self, address: str, http: HttpClient | None) -> None:
        self._address, self._http = address, http or HttpClient(address)

    @cached_property
    def _initial_stat(self) -> FileStat:
        response = self._http.get(self._address, limit=UNLIMITED, end=1)
        headers, size = response.headers, ""
        if response.is_partial:
            size = headers.get("content-range", "").rpartition("/")[2]
        size = size or headers.get("content-length", "")
        if not size.isdigit():
            raise unreadable(f"{redact_url(self._address)}: the server does not report the size")
        modified = headers.get("last-modified", "")
        mtime_ns = parse_mtime_ns({"last-modified": modified})
        return FileStat(int(size), mtime_ns, f"{size} {headers.get('etag', '')} {modified}")

    def stat(self) -> FileStat:
        return self._initial_stat

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self._initial_stat.size)
        return self._http.get(self._address, UNLIMITED, start, end).data if end > start else b""


class RangeReader(io.RawIOBase):
    """A byte source as a seekable file, as tarfile and pyarrow want it."""

    def __init__(self, byte_source: ByteSource) -> None:
        self._byte_source, self._position = byte_source, 0
        self._size = byte_source.stat().size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._byte_source.read(self._position, self._position + len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_buffered(byte_source: ByteSource) -> io.BufferedReader:
    """Return the byte source as a file that reads ahead in large chunks."""
    is_local = isinstance(byte_source, LocalByteSource)
    return io.BufferedReader(RangeReader(byte_source), 1 << 16 if is_local else READ_AHEAD_BYTES)
