"""Files on this machine, on the web, and in file systems that fsspec knows: read in ranges.

Errors are in words for the user, without the secrets of an address.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from embedder.extras import require_extra
from indexer.errors import IndexerError, unreadable
from indexer.paths import is_web, redact_text, redact_url, url_scheme
from indexer.sources.http_client import HttpClient

READ_AHEAD_BYTES = 4 << 20  # for files that are not on this machine
PACKAGE_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
CREDENTIALS_HELP = {  # by extra
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket, "
    "FSSPEC_S3_ANON=true",
    "gcs": "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
}
# these lead to other addresses, which a file written by somebody else may choose
_NESTED_PROTOCOL_LIST = (
    "async_wrapper asynclocal asyncwrapper blockcache cached data dir filecache generic libarchive "
    "reference simplecache tar zip"
)
NESTED_PROTOCOLS = frozenset(_NESTED_PROTOCOL_LIST.split())
ACCESS_DENIED_WORDS = (
    "accessdenied", "forbidden", "access denied", "invalidaccesskeyid", "signaturedoes",
)  # fmt: skip
MTIME_KEYS = (
    "LastModified", "last_modified", "last-modified", "mtime", "updated", "modified", "created",
)  # fmt: skip
ETAG_KEYS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "checksum", "sha256", "oid")


class FileStat(NamedTuple):
    """`etag` changes when the file does."""

    size: int
    mtime_ns: int
    etag: str


class ByteSource(ABC):
    """A file that can be read in ranges. Every method raises `UnusableFileError`."""

    is_local = False

    @abstractmethod
    def stat(self) -> FileStat: ...

    @abstractmethod
    def read(self, start: int, end: int) -> bytes:
        """Return the bytes of [start, end), fewer if the file ends before."""

    def open(self) -> io.BufferedReader:
        """Return a seekable file that reads ahead in large chunks."""
        return io.BufferedReader(_RangeReader(self), 1 << 16 if self.is_local else READ_AHEAD_BYTES)


def make_byte_source(address: str, http: HttpClient) -> ByteSource:
    """Return the file at a path or a URL; nothing is opened or requested yet.

    Raises:
        IndexerError: The protocol is not available.
    """
    if not url_scheme(address):
        return _LocalFile(address)
    return _WebFile(address, http) if is_web(address) else _FilesystemFile(address)


class _LocalFile(ByteSource):
    is_local = True

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def stat(self) -> FileStat:
        try:
            status = self._path.stat()
        except OSError as error:
            raise unreadable(error.strerror or error) from None
        size, mtime_ns = status.st_size, status.st_mtime_ns
        return FileStat(size, mtime_ns, f"{size} {mtime_ns}")

    def read(self, start: int, end: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return file.read(max(0, end - start))  # -1 would be all
        except OSError as error:
            raise unreadable(error.strerror or error) from None


class _FilesystemFile(ByteSource):
    def __init__(self, address: str) -> None:
        self._address = address
        self._fs, self._path = open_filesystem(address)

    def stat(self) -> FileStat:
        with raise_unreadable(self._address):
            self._fs.invalidate_cache()
            info = self._fs.info(self._path)
        return FileStat(int(info.get("size") or 0), parse_mtime_ns(info), build_etag(info))

    def read(self, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        with raise_unreadable(self._address):
            return bytes(self._fs.cat_file(self._path, start=start, end=end))


class _WebFile(ByteSource):
    def __init__(self, address: str, http: HttpClient) -> None:
        self._address, self._http = address, http

    def stat(self) -> FileStat:
        return self._initial_stat

    @cached_property
    def _initial_stat(self) -> FileStat:
        response = self._http.get(self._address, limit=1, start=0)
        headers, size = response.headers, ""
        if response.is_partial:
            size = headers.get("content-range", "").rpartition("/")[2]
        size = size or headers.get("content-length", "")
        if not size.isdigit():
            raise unreadable(f"{redact_url(self._address)}: the server does not report the size")
        modified = headers.get("last-modified", "")
        mtime_ns = parse_mtime_ns({"last-modified": modified})
        return FileStat(int(size), mtime_ns, f"{size} {headers.get('etag', '')} {modified}")

    def read(self, start: int, end: int) -> bytes:
        size = min(end, self._initial_stat.size) - start
        return self._http.get(self._address, size, start).data if size > 0 else b""


class _RangeReader(io.RawIOBase):
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


def open_filesystem(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL and the path in it.

    Raises:
        IndexerError: There is no such file system.
        MissingExtraError: The package that reads it is not installed.
    """
    import fsspec

    scheme, shown = url_scheme(address), redact_url(address)
    if "::" in address or scheme in NESTED_PROTOCOLS:
        raise IndexerError(
            f"{shown}: a file system inside another is not read; name where the files are"
        )
    if scheme in PACKAGE_EXTRAS:
        require_extra(PACKAGE_EXTRAS[scheme])
    try:
        fsspec.get_filesystem_class(scheme)
        fs, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise IndexerError(f"{scheme}:// needs a package that is not installed: {error}") from None
    except Exception as error:
        if isinstance(error, ValueError) and "protocol" in str(error).lower():
            raise IndexerError(f"{scheme}:// is not a file system that fsspec knows") from None
        raise IndexerError(f"{shown}: {describe_error(error, address)}") from None
    return fs, path


@contextmanager
def raise_unreadable(address: str) -> Iterator[None]:
    """Turn a file system's errors into `UnusableFileError`."""
    try:
        yield
    except Exception as error:
        raise unreadable(describe_error(error, address)) from None


def describe_error(error: BaseException, address: str) -> str:
    """Describe a file system's error without secrets, and what to do if that is known."""
    name, scheme = type(error).__name__, url_scheme(address)
    message = redact_text(" ".join(str(error).split()), address)[:300] or name
    lower, help = message.lower(), CREDENTIALS_HELP.get(PACKAGE_EXTRAS.get(scheme, ""))
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket" if "bucket" in lower else "there is nothing of that name"
    if isinstance(error, PermissionError) or any(
        word in f"{name} {message}".lower() for word in ACCESS_DENIED_WORDS
    ):
        advice = help or "check the credentials"
        return f"the credentials in use do not allow reading it ({message}): {advice}"
    if "Credential" in name or "credentials" in lower:
        return f"there are no credentials: {help or 'set them'}"
    if "Connect" in name or "gaierror" in name or isinstance(error, ConnectionError):
        return f"the server cannot be reached ({message}): check the network and the endpoint"
    return message


def parse_mtime_ns(info: Mapping[str, Any]) -> int:
    """Return when a file changed, in nanoseconds since 1970; 0 if its file system does not say."""
    for name in MTIME_KEYS:
        value = info.get(name)
        if isinstance(value, str):
            value = _parse_datetime(value)
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float):
            return int(value * 1_000_000_000)
    return 0


def build_etag(info: Mapping[str, Any]) -> str:
    """Return what changes when the file does: its size, time and the server's own tags."""
    tags = " ".join(str(info[name]) for name in ETAG_KEYS if info.get(name))
    return f"{info.get('size')} {parse_mtime_ns(info)} {tags}".strip()


def _parse_datetime(value: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(value)
        except ValueError:
            continue
    return None
