"""What goes wrong on the way to a server, and which of it is worth another try.

qdrant-client hands on what httpx, grpc and json raise, each in its own form.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ssl import SSLCertVerificationError, SSLError
from typing import Any

PASSING = frozenset({408, 429, 500, 502, 503, 504})  # HTTP statuses that may be gone next time
GRPC_PASSING = frozenset(
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
class Fault:
    """Something that passes: what it was, and how many seconds the server asks to wait."""

    what: str
    after: float | None = None


def fault_of(error: Exception) -> Fault | None:
    """The fault that `error` stands for; None where another try would end the same."""
    from httpx import RequestError, UnsupportedProtocol
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse

    source = source_of(error)
    if isinstance(source, ResourceExhaustedResponse):
        return Fault("it has too many requests", float(source.retry_after_s))
    if isinstance(source, QdrantException):  # Retry-After is a date, which the client cannot read
        return Fault("it has too many requests")
    if isinstance(source, NotAppliedError):
        return Fault("it has not applied what it was sent")
    if isinstance(source, json.JSONDecodeError):
        return Fault("its answer broke off")
    if isinstance(source, RequestError):
        lasting = isinstance(source, UnsupportedProtocol) or tls_error(source)
        return None if lasting else Fault(_told(source))
    return _answered(source)


def _answered(error: Exception) -> Fault | None:
    """What the server itself has said."""
    code = grpc_code(error)
    if code is not None:
        words = said(error)
        passing = code in GRPC_PASSING and not tls_error(error) and "larger than" not in words
        if "failed to connect" in words:  # to all addresses; last error: UNKNOWN: ipv4:...: why
            words = words.rpartition(": ")[2]
        return Fault(words or code) if passing else None
    status = status_of(error)
    if status in PASSING:
        return Fault(f"status {status}" + (f": {said(error)}" if said(error) else ""))
    return None


def source_of(error: Exception) -> Exception:
    """What qdrant-client has wrapped."""
    found = getattr(error, "source", None)
    return found if isinstance(found, Exception) else error


def grpc_code(error: Exception) -> str | None:
    """The name of gRPC's status, such as UNAVAILABLE; None for other errors."""
    code: Any = getattr(error, "code", None)
    return str(getattr(code(), "name", "UNKNOWN")) if callable(code) else None


def status_of(error: Exception) -> int | None:
    """The HTTP status, or the one that gRPC's code stands for."""
    code = grpc_code(error)
    if code is not None:
        return GRPC_STATUS.get(code)
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def said(error: Exception) -> str:
    """The server's own words, on one line."""
    details: Any = getattr(error, "details", None)
    if callable(details):
        return _line(str(details() or ""))
    content = getattr(error, "content", b"")
    try:
        return _line(str(json.loads(content)["status"]["error"]))
    except (ValueError, KeyError, TypeError):
        return "" if b"<" in content else _line(content.decode("utf-8", "replace"))


def tls_error(error: Exception) -> str | None:
    """What is wrong with the encryption; a connection that merely broke off is none."""
    if grpc_code(error) is not None:
        words = said(error)
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


def _told(error: Exception) -> str:
    from httpx import TimeoutException

    if isinstance(error, TimeoutException):
        return "no answer in time"
    return _line(re.sub(r"\[Errno -?\d+\] ", "", str(error))) or type(error).__name__


def _line(text: str, most: int = 300) -> str:
    short = " ".join(text.split())
    return short if len(short) <= most else short[:most] + " ..."
