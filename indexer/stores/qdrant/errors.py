"""What goes wrong on the way to a server, and which of it is worth another try.

qdrant-client hands on what httpx, grpc and json raise, each in its own form.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ssl import SSLCertVerificationError, SSLError
from typing import Any

RETRYABLE_STATUSES = frozenset(
    {408, 429, 500, 502, 503, 504}
)  # HTTP statuses that may be gone next time
RETRYABLE_GRPC_CODES = frozenset(
    {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "CANCELLED"}
)
GRPC_STATUS = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "UNIMPLEMENTED": 501,
}
"""gRPC's codes as the HTTP statuses that Qdrant gives for the same."""


class NotAppliedError(Exception):
    """The server took a write and did not get round to it within the time of the request."""


@dataclass(frozen=True, slots=True)
class TransientError:
    """Something that passes: what it was, and how many seconds the server asks to wait."""

    message: str
    retry_after: float | None = None


def find_transient_error(error: Exception) -> TransientError | None:
    """The fault that `error` stands for; None where another try would end the same."""
    from httpx import RequestError, UnsupportedProtocol
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse

    source = root_cause(error)
    if isinstance(source, ResourceExhaustedResponse):
        return TransientError("it has too many requests", float(source.retry_after_s))
    if isinstance(source, QdrantException):  # Retry-After is a date, which the client cannot read
        return TransientError("it has too many requests")
    if isinstance(source, NotAppliedError):
        return TransientError("it has not applied what it was sent")
    if isinstance(source, json.JSONDecodeError):
        return TransientError("its answer broke off")
    if isinstance(source, RequestError):
        lasting = isinstance(source, UnsupportedProtocol) or find_tls_error(source)
        return None if lasting else TransientError(_describe(source))
    return _parse_response_error(source)


def _parse_response_error(error: Exception) -> TransientError | None:
    """What the server itself has said."""
    code = get_grpc_code(error)
    if code is not None:
        words = get_server_message(error)
        passing = (
            code in RETRYABLE_GRPC_CODES
            and not find_tls_error(error)
            and "larger than" not in words
        )
        if "failed to connect" in words:  # to all addresses; last error: UNKNOWN: ipv4:...: why
            words = words.rpartition(": ")[2]
        return TransientError(words or code) if passing else None
    status = get_status(error)
    if status in RETRYABLE_STATUSES:
        return TransientError(
            f"status {status}"
            + (f": {get_server_message(error)}" if get_server_message(error) else "")
        )
    return None


def root_cause(error: Exception) -> Exception:
    """What qdrant-client has wrapped."""
    found = getattr(error, "source", None)
    return found if isinstance(found, Exception) else error


def get_grpc_code(error: Exception) -> str | None:
    """The name of gRPC's status, such as UNAVAILABLE; None for other errors."""
    code: Any = getattr(error, "code", None)
    return str(getattr(code(), "name", "UNKNOWN")) if callable(code) else None


def get_status(error: Exception) -> int | None:
    """The HTTP status, or the one that gRPC's code stands for."""
    code = get_grpc_code(error)
    if code is not None:
        return GRPC_STATUS.get(code)
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def get_server_message(error: Exception) -> str:
    """The server's own words, on one line."""
    details: Any = getattr(error, "details", None)
    if callable(details):
        return _first_line(str(details() or ""))
    content = getattr(error, "content", b"")
    try:
        return _first_line(str(json.loads(content)["status"]["error"]))
    except (ValueError, KeyError, TypeError):
        return "" if b"<" in content else _first_line(content.decode("utf-8", "replace"))


def find_tls_error(error: Exception) -> str | None:
    """What is wrong with the encryption; a connection that merely broke off is none."""
    if get_grpc_code(error) is not None:
        words = get_server_message(error)
        return words if "CERTIFICATE_VERIFY_FAILED" in words or "SSL_ERROR" in words else None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SSLCertVerificationError):
            return cause.verify_message
        if isinstance(cause, SSLError):
            broken = "EOF" in str(cause) or cause.reason is None
            return None if broken else str(cause.reason)
        cause = cause.__cause__ or cause.__context__
    return None


def _describe(error: Exception) -> str:
    from httpx import TimeoutException

    if isinstance(error, TimeoutException):
        return "no answer in time"
    return _first_line(re.sub(r"\[Errno -?\d+\] ", "", str(error))) or type(error).__name__


def _first_line(text: str, most: int = 300) -> str:
    short = " ".join(text.split())
    return short if len(short) <= most else short[:most] + " ..."
