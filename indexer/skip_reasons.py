"""Why a file is left out: the reason codes, and the exception that carries one."""

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
    "unreadable": "the system refused to open or to read it, or it changed while being read",
    "not-a-regular-file": "a pipe, a socket or a device has a picture's name",
    "empty": "there is nothing in it",
    "too-large": "it has more bytes than --max-bytes allows",
    "too-many-pixels": "it has more pixels than --max-pixels allows",
    "corrupt": "its content is no picture, or a damaged one",
    "truncated": "the end of the picture is missing",
    "unsupported": "a format that is not decoded here",
    "not-text": "a text file's name on something that is no text",
    "bad-sidecar": "a caption file that cannot be read; the picture itself is indexed",
    "link-cycle": "a link that leads back to where it came from",
    "remote": "it is at a URL whose host the user has not named; it is not fetched",
    "embed-failed": "the model failed on it",
}


class UnusableFileError(IndexerError):
    """A file that cannot be used; `reason` is a code of `REASONS`, `detail` is for the user."""

    def __init__(self, reason: SkipReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: SkipReason = reason
        self.detail = detail
