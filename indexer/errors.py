"""The errors of the indexer, and the reasons why a file is skipped.

Each message says what failed, where, and what to do next.

IndexerError
├── ConfigError        a setting, a flag or an environment variable is wrong
├── QueryError         a query that cannot be understood
├── CollectionError    the collection is missing, damaged, newer, or of another model
│   ├── DamagedError   a file of the collection was changed or lost; doctor --repair restores it
│   └── UnnamedHostError its model is on a host that nobody has named
├── StoreError         the store refused or failed
│   ├── MissingIndexError the server has no index for what is asked
│   ├── StoreBusyError another process holds what this one needs
│   └── StoreUnavailableError the server has not answered in time
└── DiskFullError      too little free disk space to write safely

`UnusableFileError` carries the reason why one file is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping

from embedder.errors import MissingExtraError as MissingExtraError  # noqa: PLC0414
from embedder.errors import UnusableFileError as UnusableFileError  # noqa: PLC0414
from embedder.redaction import redact_secrets

SKIP_REASONS: Mapping[str, str] = {
    "unreadable": "it could not be opened or read, or it changed while being read",
    "not-a-regular-file": "a pipe, a socket or a device with the name of an image",
    "empty": "it has no content",
    "too-large": "it has more bytes than --max-bytes allows",
    "too-many-pixels": "it has more pixels than --max-pixels allows",
    "corrupt": "its content is not an image, or a damaged one",
    "truncated": "the end of the image is missing",
    "unsupported": "the format is not supported",
    "not-text": "it has the name of a text file, but is not text",
    "bad-sidecar": "a caption file that cannot be read; the image itself is indexed",
    "link-cycle": "a link that leads back to a folder that contains it",
    "remote": "it is at a URL whose host was not allowed, so it was not fetched",
    "embed-failed": "the model failed on it",
}


class IndexerError(Exception):
    """The base class; the message is for the user. Secrets in URLs are masked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(redact_secrets(message))


class ConfigError(IndexerError):
    """A setting, a flag or an environment variable is wrong."""


class QueryError(IndexerError):
    """A query that cannot be understood."""


class CollectionError(IndexerError):
    """The collection is missing, damaged, of a newer format, or of another model."""


class DamagedError(CollectionError):
    """A file of the collection was changed or lost, outside of this program."""


class UnnamedHostError(CollectionError):
    """The collection's model is on a host that nobody on this machine has named.

    `url` is what loading it contacts.
    """

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message)
        self.url = url

    def __reduce__(self) -> tuple[type[UnnamedHostError], tuple[str, str]]:
        return type(self), (str(self), self.url)


class StoreError(IndexerError):
    """The store refused or failed."""


class MissingIndexError(StoreError):
    """The server has no payload index for what is asked, as to sort by a date."""


class StoreBusyError(StoreError):
    """Another process holds what this one needs."""


class StoreUnavailableError(StoreError):
    """The server has not answered, or was too busy, until the time limit."""


class DiskFullError(IndexerError):
    """Too little free disk space to write safely."""


def unreadable(detail: object) -> UnusableFileError:
    """Return the error of a file that cannot be read."""
    return UnusableFileError("unreadable", str(detail))
