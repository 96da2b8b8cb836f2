"""Why a file is skipped: the reason codes, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from indexer.errors import IndexerError

SkipReason = Literal[
    "unreadable",
    "not-a-regular-file",
    "empty",
    "too-large",
    "too-many-pixels",
    "corrupt",
    "truncated",
    "unsupported",
    "not-text",
    "bad-sidecar",
    "link-cycle",
    "remote",
    "embed-failed",
]

SKIP_REASONS: Mapping[SkipReason, str] = {
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


class UnusableFileError(IndexerError):
    """A file that cannot be used; `reason` is a key of `SKIP_REASONS`, `detail` is for users."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: SkipReason = reason
        self.detail = detail


def unreadable(detail: object) -> UnusableFileError:
    """Return the error of a file that cannot be read."""
    return UnusableFileError("unreadable", str(detail))
