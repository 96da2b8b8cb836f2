"""One file, here or at a URL, of which pieces can be read: what archives and tables stand on."""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexer.skip_reasons import UnusableFileError
from indexer.sources.file_info import build_etag, parse_mtime_ns
from indexer.sources.filesystem import describe_error, open_filesystem
from indexer.sources.http.client import HttpClient
from indexer.sources.paths import redact_url, url_scheme

READ_AHEAD_BYTES = 4 << 20  # bytes read at a time from what is not on this machine
UNLIMITED = 1 << 62


class FileStat(NamedTuple):
    """`mark` changes when the file does."""

    size: int
    mtime_ns: int
    etag: str


class ByteSource(Protocol):
    """Every method raises `Undecodable`."""

    def stat(self) -> FileStat: ...
    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end), fewer where the file ends before."""
        ...


def make_byte_source(address: str, http: HttpClient | None = None) -> ByteSource:
    """The file at a path or a URL; nothing is opened yet. `web` is what fetches by HTTP. Raises
    `IndexerError` for a protocol that is not there."""
    protocol = url_scheme(address)
    if not protocol:
        return LocalByteSource(address)
    return (
        HttpByteSource(address, http)
        if protocol in {"http", "https"}
        else FilesystemByteSource(address)
    )


class LocalByteSource:
    def __init__(self, path: str) -> None:
        self._path = path

    def stat(self) -> FileStat:
        try:
            status = Path(self._path).stat()
        except OSError as error:
            raise UnusableFileError("unreadable", error.strerror or str(error)) from None
        return FileStat(
            status.st_size, status.st_mtime_ns, f"{status.st_size} {status.st_mtime_ns}"
        )

    def read(self, start: int, end: int) -> bytes:
        try:
            with open(self._path, "rb", buffering=0) as file:  # noqa: PTH123
                return b"".join(_read_range(file.fileno(), start, end))
        except OSError as error:
            raise UnusableFileError("unreadable", error.strerror or str(error)) from None


class FilesystemByteSource:
    """A file of any file system that fsspec knows."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._fs, self._path = open_filesystem(address)

    def stat(self) -> FileStat:
        try:
            self._fs.invalidate_cache()
            info = self._fs.info(self._path)
        except Exception as error:
            raise UnusableFileError("unreadable", describe_error(error, self._address)) from None
        return FileStat(int(info.get("size") or 0), parse_mtime_ns(info), build_etag(info))

    def read(self, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        try:
            return bytes(self._fs.cat_file(self._path, start=start, end=end))
        except Exception as error:
            raise UnusableFileError("unreadable", describe_error(error, self._address)) from None


class HttpByteSource:
    def __init__(self, address: str, http: HttpClient | None) -> None:
        self._address, self._http = address, http or HttpClient(address)

    @cached_property
    def _initial_stat(self) -> FileStat:
        response = self._http.get(self._address, limit=UNLIMITED, end=1)
        headers = response.headers
        total = headers.get("content-range", "").rpartition("/")[2] if response.is_partial else ""
        size = total or headers.get("content-length", "")
        if not size.isdigit():
            raise UnusableFileError(
                "unreadable", f"{redact_url(self._address)}: the server tells no size"
            )
        last_modified = headers.get("last-modified", "")
        etag = f"{size} {headers.get('etag', '')} {last_modified}"
        return FileStat(int(size), parse_mtime_ns({"last-modified": last_modified}), etag)

    def stat(self) -> FileStat:
        return self._initial_stat

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self._initial_stat.size)
        return self._http.get(self._address, UNLIMITED, start, end).data if end > start else b""


class RangeReader(io.RawIOBase):
    """A blob as a file that can be read and sought in, as tarfile and pyarrow want it."""

    def __init__(self, byte_source: ByteSource) -> None:
        self._byte_source, self._position, self._size = byte_source, 0, byte_source.stat().size

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
    """The blob as a file, read in large pieces."""
    return io.BufferedReader(
        RangeReader(byte_source),
        1 << 16 if isinstance(byte_source, LocalByteSource) else READ_AHEAD_BYTES,
    )


def _read_range(file: int, start: int, end: int) -> Any:
    while start < end:
        data = os.pread(file, end - start, start)
        if not data:
            return
        yield data
        start += len(data)
