"""Why a file is skipped: the reason codes. `UnusableFileError` carries one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from embedder.errors import UnusableFileError

__all__ = ["SKIP_REASONS", "SkipReason", "UnusableFileError", "unreadable"]

SkipReason: TypeAlias = str
"""A key of `SKIP_REASONS`."""

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


def unreadable(detail: object) -> UnusableFileError:
    """Return the error of a file that cannot be read."""
    return UnusableFileError("unreadable", str(detail))
