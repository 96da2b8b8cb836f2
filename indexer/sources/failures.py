"""File systems by fsspec, and what goes wrong with them, in words for the user."""

from __future__ import annotations

import errno
from typing import Any

from indexer.errors import IndexerError
from indexer.sources.addresses import clean, scheme, scrubbed

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
# these lead elsewhere, and where to, a file may say that somebody else has written
LEADING_NAMES = (
    "async_wrapper asynclocal asyncwrapper blockcache cached data dir filecache generic libarchive "
    "reference simplecache tar zip"
)
LEADING = frozenset(LEADING_NAMES.split())
S3_ADVICE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a bucket that is open to "
    "all, FSSPEC_S3_ANON=true"
)
ADVICE = {
    "s3": S3_ADVICE,
    "s3a": S3_ADVICE,
    "gs": "type gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "type gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
}


def connect(address: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; raises `IndexerError`."""
    import fsspec

    kind = scheme(address)
    if "::" in address or kind in LEADING:
        raise IndexerError(
            f"{clean(address)}: a file system within another is not read; name where the files are"
        )
    try:
        fsspec.get_filesystem_class(kind)
        fs, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        advice = f"pip install 'polylens[{EXTRAS[kind]}]'" if kind in EXTRAS else str(error)
        raise IndexerError(f"{kind}:// needs a package that is not installed: {advice}") from None
    except ValueError as error:
        if "protocol" in str(error).lower():
            raise IndexerError(f"{kind}:// is no file system that fsspec knows") from None
        raise IndexerError(f"{clean(address)}: {scrubbed(str(error), address)}") from None
    except Exception as error:
        raise IndexerError(f"{clean(address)}: {explained(error, address)}") from None
    return fs, path


def explained(error: BaseException, address: str) -> str:
    """What went wrong, and what to do where that is known; without secrets."""
    said = scrubbed(" ".join(str(error).split()), address)[:300] or type(error).__name__
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        bucket = "bucket" in said.lower()
        return "there is no such bucket" if bucket else "there is nothing of that name"
    if _is_refused(error, name, said):
        advice = ADVICE.get(scheme(address), "check the credentials")
        return f"it may not be read with the credentials that are set ({said}): {advice}"
    if "Credential" in name or "credentials" in said.lower():
        return f"there are no credentials: {ADVICE.get(scheme(address), 'set them')}"
    if "Connect" in name or "gaierror" in name or isinstance(error, ConnectionError):
        return f"the server is not reached ({said}): check the network and the endpoint"
    return said


def _is_refused(error: BaseException, name: str, said: str) -> bool:
    if isinstance(error, PermissionError):
        return True
    if isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM}:
        return True
    signs = ("accessdenied", "forbidden", "access denied", "invalidaccesskeyid", "signaturedoes")
    return any(sign in f"{name} {said}".lower() for sign in signs)
