"""Errors of the finetune module: each message says what failed and what to type next."""

from embedder.redaction import redact_secrets


class FinetuneError(Exception):
    """Data, a run or an evaluation that cannot be used; the message is for the user.

    Secrets in URLs are masked.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(redact_secrets(message))


class DataError(FinetuneError):
    """A file of pairs, a benchmark or a picture in it that cannot be read."""
