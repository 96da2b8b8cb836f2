"""Exceptions of the embedder; every message is written for the user."""

from __future__ import annotations

from embedder.redaction import redact_secrets


class EmbedderError(Exception):
    """An input or a model cannot be used. The message says what failed and what to do next.

    Secrets in URLs are masked.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(redact_secrets(message))


class UnavailableError(EmbedderError):
    """The model cannot be reached at all; another input would fail as well."""


class UnknownModelError(EmbedderError):
    """No model family knows the name."""


class MissingExtraError(EmbedderError):
    """Optional packages are not installed. The message has the command that installs them."""


class UnusableFileError(EmbedderError):
    """A file cannot be read or decoded.

    Attributes:
        reason: A stable code, such as "corrupt" or "too-large".
        detail: What is wrong with the file, for the user.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = str(self)

    def __reduce__(self) -> tuple[type[UnusableFileError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)
