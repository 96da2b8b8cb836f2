"""File systems that fsspec knows: opening, file versions, and errors in words for the user."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from indexer.errors import IndexerError
from indexer.paths import redact_text, redact_url, url_scheme

PACKAGE_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# these lead to other addresses, which a file written by somebody else may choose
_NESTED_PROTOCOL_LIST = (
    "async_wrapper asynclocal asyncwrapper blockcache cached data dir filecache generic libarchive "
    "reference simplecache tar zip"
)
NESTED_PROTOCOLS = frozenset(_NESTED_PROTOCOL_LIST.split())
S3_CREDENTIALS_HELP = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket, "
    "FSSPEC_S3_ANON=true"
)
GCS_CREDENTIALS_HELP = (
    "run gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS"
)
CREDENTIALS_HELP = {
    "s3": S3_CREDENTIALS_HELP,
    "s3a": S3_CREDENTIALS_HELP,
    "gs": GCS_CREDENTIALS_HELP,
    "gcs": GCS_CREDENTIALS_HELP,
}
MTIME_KEYS = (
    "LastModified", "last_modified", "last-modified", "mtime", "updated", "modified", "created",
)  # fmt: skip
ETAG_KEYS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "checksum", "sha256", "oid")


def open_filesystem(address: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it; raises `IndexerError`."""
    import fsspec

    scheme, shown = url_scheme(address), redact_url(address)
    if "::" in address or scheme in NESTED_PROTOCOLS:
        raise IndexerError(
            f"{shown}: a file system inside another is not read; name where the files are"
        )
    try:
        fsspec.get_filesystem_class(scheme)
        fs, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        extra = PACKAGE_EXTRAS.get(scheme)
        advice = f"pip install 'polylens[{extra}]'" if extra else str(error)
        raise IndexerError(f"{scheme}:// needs a package that is not installed: {advice}") from None
    except ValueError as error:
        if "protocol" in str(error).lower():
            raise IndexerError(f"{scheme}:// is not a file system that fsspec knows") from None
        raise IndexerError(f"{shown}: {redact_text(str(error), address)}") from None
    except Exception as error:
        raise IndexerError(f"{shown}: {describe_error(error, address)}") from None
    return fs, path


def describe_error(error: BaseException, address: str) -> str:
    """Describe a file system's error without secrets, and what to do if that is known."""
    name, scheme = type(error).__name__, url_scheme(address)
    message = redact_text(" ".join(str(error).split()), address)[:300] or name
    lower = message.lower()
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket" if "bucket" in lower else "there is nothing of that name"
    if _is_access_denied(error, name, message):
        advice = CREDENTIALS_HELP.get(scheme, "check the credentials")
        return f"the credentials in use do not allow reading it ({message}): {advice}"
    if "Credential" in name or "credentials" in lower:
        return f"there are no credentials: {CREDENTIALS_HELP.get(scheme, 'set them')}"
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


def _is_access_denied(error: BaseException, name: str, message: str) -> bool:
    if isinstance(error, PermissionError):
        return True
    if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM}:
        return True
    markers = ("accessdenied", "forbidden", "access denied", "invalidaccesskeyid", "signaturedoes")
    return any(marker in f"{name} {message}".lower() for marker in markers)
