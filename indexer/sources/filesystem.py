"""File systems by fsspec, and what goes wrong with them, in words for the user."""

from __future__ import annotations

import errno
from typing import Any

from indexer.errors import IndexerError
from indexer.sources.paths import redact_text, redact_url, url_scheme

PACKAGE_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# these lead elsewhere, and where to, a file may say that somebody else has written
NESTED_PROTOCOL_NAMES = (
    "async_wrapper asynclocal asyncwrapper blockcache cached data dir filecache generic libarchive "
    "reference simplecache tar zip"
)
NESTED_PROTOCOLS = frozenset(NESTED_PROTOCOL_NAMES.split())
S3_CREDENTIALS_HELP = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a bucket that is open to "
    "all, FSSPEC_S3_ANON=true"
)
CREDENTIALS_HELP = {
    "s3": S3_CREDENTIALS_HELP,
    "s3a": S3_CREDENTIALS_HELP,
    "gs": "type gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "type gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
}


def open_filesystem(address: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; raises `IndexerError`."""
    import fsspec

    protocol = url_scheme(address)
    if "::" in address or protocol in NESTED_PROTOCOLS:
        raise IndexerError(
            f"{redact_url(address)}: a file system within another is not read; name where the files are"
        )
    try:
        fsspec.get_filesystem_class(protocol)
        fs, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        advice = (
            f"pip install 'polylens[{PACKAGE_EXTRAS[protocol]}]'"
            if protocol in PACKAGE_EXTRAS
            else str(error)
        )
        raise IndexerError(
            f"{protocol}:// needs a package that is not installed: {advice}"
        ) from None
    except ValueError as error:
        if "protocol" in str(error).lower():
            raise IndexerError(f"{protocol}:// is no file system that fsspec knows") from None
        raise IndexerError(f"{redact_url(address)}: {redact_text(str(error), address)}") from None
    except Exception as error:
        raise IndexerError(f"{redact_url(address)}: {describe_error(error, address)}") from None
    return fs, path


def describe_error(error: BaseException, address: str) -> str:
    """What went wrong, and what to do where that is known; without secrets."""
    message = redact_text(" ".join(str(error).split()), address)[:300] or type(error).__name__
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        bucket = "bucket" in message.lower()
        return "there is no such bucket" if bucket else "there is nothing of that name"
    if _is_access_denied(error, name, message):
        advice = CREDENTIALS_HELP.get(url_scheme(address), "check the credentials")
        return f"it may not be read with the credentials that are set ({message}): {advice}"
    if "Credential" in name or "credentials" in message.lower():
        return f"there are no credentials: {CREDENTIALS_HELP.get(url_scheme(address), 'set them')}"
    if "Connect" in name or "gaierror" in name or isinstance(error, ConnectionError):
        return f"the server is not reached ({message}): check the network and the endpoint"
    return message


def _is_access_denied(error: BaseException, name: str, message: str) -> bool:
    if isinstance(error, PermissionError):
        return True
    if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM}:
        return True
    markers = ("accessdenied", "forbidden", "access denied", "invalidaccesskeyid", "signaturedoes")
    return any(sign in f"{name} {message}".lower() for sign in markers)
