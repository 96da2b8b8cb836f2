"""The errors of a server: which are transient, what they say, and messages with advice.

qdrant-client passes on the errors of httpx, grpc and json, each in its own form. Messages never
contain secrets.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ssl import SSLCertVerificationError, SSLError
from typing import Any
from urllib.parse import urlsplit

from embedder.redaction import redact_secrets
from indexer.errors import MissingIndexError, StoreError, StoreUnavailableError
from indexer.stores.qdrant.client import Connection

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})  # HTTP statuses of transient errors
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
"""gRPC code -> the HTTP status that Qdrant uses for the same error."""
TIMED_OUT = "the request timed out"
START_ADVICE = "Start the server, or correct --store or QDRANT_URL"
HUNG_ADVICE = (
    "Something accepts connections there and does not respond in time: see the log of the server, "
    "start it again, or correct --store or QDRANT_URL"
)
NODE_ADVICE = (
    "Start the missing nodes; indexer doctor says whether a write needs every copy, and changes it "
    "with --repair"
)
REFUSED = "Qdrant at {location} refused: {message}"
FAILED = "Qdrant at {location} failed: {message}"
STATUS_HINTS = {
    401: "{location} {wanted}: set QDRANT_API_KEY to the right one (and QDRANT_READ_API_KEY, "
    "where it is set)",
    403: "the API key may not do this on {location} ({message}): set QDRANT_API_KEY to a key that "
    "may write",
    404: "{location} has no such collection or point ({message}); type: indexer ingest FOLDER",
    413: "{location} does not accept requests of this size ({message}): raise its "
    "max_request_size_mb",
}
"""By HTTP status."""
WITHHELD_KEY_HINT = (
    "{location} wants an API key. QDRANT_API_KEY was not sent, because the settings have it for "
    "another server: if it is this one's, set QDRANT_URL, or POLYLENS_QDRANT_API_KEY_URL, to this "
    "URL; the key of a server that migrate reads is QDRANT_SOURCE_API_KEY, with QDRANT_SOURCE_URL"
)
NO_INDEX = "No range index"
MESSAGE_HINTS = {
    "dimension": "{location} has vectors of another dim ({message}): name the collection's own "
    "model, or another collection with --collection",
    "larger than": "{location} does not accept requests of this size ({message})",
    NO_INDEX: "{location} cannot sort by this yet ({message}): an ingest with an API key that may "
    "write makes the index; type: indexer ingest FOLDER",
    "imit exceeded": REFUSED + "; request less, for example with a narrower --where",
}
"""By a phrase in the server's message."""
TLS_VERSION_HINT = "{location} does not speak TLS ({message}): write http:// instead of https://"
CERTIFICATE_HINT = (
    "the certificate of {location} is not trusted ({message}): name the file of its authority with "
    "POLYLENS_QDRANT_CA, or use the host name that the certificate is for"
)


class NotAppliedError(Exception):
    """The server accepted a write but did not apply it before the request's timeout."""


@dataclass(frozen=True, slots=True)
class TransientError:
    """An error worth a retry, and the seconds that the server asks to wait."""

    message: str
    retry_after: float | None = None
    is_response: bool = False  # the server answered; it or another node of its cluster failed


class RetryTimeoutError(Exception):
    """The time limit was reached, or the call was stopped."""

    def __init__(self, fault: TransientError, waited: float) -> None:
        super().__init__(fault.message)
        self.fault, self.waited = fault, waited


def find_transient_error(error: Exception) -> TransientError | None:
    """Return the transient error behind `error`; None if a retry would not help."""
    from httpx import RequestError, UnsupportedProtocol
    from qdrant_client.common.client_exceptions import QdrantException

    source = root_cause(error)
    if isinstance(source, QdrantException):
        seconds = getattr(source, "retry_after_s", None)  # None: a date, which the client ignores
        return TransientError("it has too many requests", seconds)
    if isinstance(source, NotAppliedError):
        return TransientError("it has not applied the write")
    if isinstance(source, json.JSONDecodeError):
        return TransientError("its response was cut off")
    if isinstance(source, RequestError):
        permanent = isinstance(source, UnsupportedProtocol) or find_tls_error(source)
        return None if permanent else TransientError(_describe(source))
    return _parse_response_error(source)


def _parse_response_error(error: Exception) -> TransientError | None:
    """Parse an error response of the server."""
    code, message = get_grpc_code(error), get_server_message(error)
    if code is not None:
        is_transient = (
            code in RETRYABLE_GRPC_CODES
            and not find_tls_error(error)
            and "larger than" not in message
        )
        if "failed to connect" in message:  # to all addresses; last error: UNKNOWN: ipv4:...: why
            message = message.rpartition(": ")[2]
        if code == "DEADLINE_EXCEEDED":
            message = TIMED_OUT
        is_response = code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
        return TransientError(message or code, None, is_response) if is_transient else None
    status = get_status(error)
    if status in RETRYABLE_STATUSES:
        text = f"status {status}" + (f": {message}" if message else "")
        return TransientError(text, is_response=True)
    return None


def root_cause(error: Exception) -> Exception:
    """The error that qdrant-client has wrapped."""
    source = getattr(error, "source", None)
    return source if isinstance(source, Exception) else error


def get_grpc_code(error: Exception) -> str | None:
    """The name of gRPC's status, such as UNAVAILABLE; None for other errors."""
    code: Any = getattr(error, "code", None)
    return str(getattr(code(), "name", "UNKNOWN")) if callable(code) else None


def get_status(error: Exception) -> int | None:
    """The HTTP status, or the equivalent of the gRPC code."""
    code = get_grpc_code(error)
    if code is not None:
        return GRPC_STATUS.get(code)
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def get_server_message(error: Exception) -> str:
    """The server's message, on one line."""
    details: Any = getattr(error, "details", None)
    if callable(details):
        return _first_line(str(details() or ""))
    content = getattr(error, "content", b"")
    try:
        return _first_line(str(json.loads(content)["status"]["error"]))
    except (ValueError, KeyError, TypeError):
        return "" if b"<" in content else _first_line(content.decode("utf-8", "replace"))


def find_tls_error(error: Exception) -> str | None:
    """Describe a TLS error; None for other errors, such as a lost connection."""
    if get_grpc_code(error) is not None:
        message = get_server_message(error)
        is_tls = "CERTIFICATE_VERIFY_FAILED" in message or "SSL_ERROR" in message
        return message if is_tls else None
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
        return TIMED_OUT
    return _first_line(re.sub(r"\[Errno -?\d+\] ", "", str(error))) or type(error).__name__


def _first_line(text: str, most: int = 300) -> str:
    short = " ".join(text.split())
    return short if len(short) <= most else short[:most] + " ..."


def format_location(connection: Connection) -> str:
    """The server's address for messages: with the port, without a password."""
    url = redact_secrets(connection.url)
    if connection.grpc_port is not None:
        return f"{url} (gRPC on port {connection.grpc_port})"
    return url if urlsplit(url).port or urlsplit(url).path else f"{url}:6333"


def unavailable_error(
    connection: Connection, timeout: RetryTimeoutError, lost_nodes: str = ""
) -> StoreError:
    """Describe a server that did not answer, or failed, until the retries ended.

    `lost_nodes` says which nodes of its cluster do not answer.
    """
    location, fault = format_location(connection), timeout.fault.message
    waited = f" for {timeout.waited:.0f} s" if timeout.waited >= 1 else ""
    what, advice = f"no answer from Qdrant at {location}{waited} ({fault})", START_ADVICE
    if lost_nodes:
        what = f"Qdrant at {location} could not do this{waited}: {lost_nodes} ({fault})"
        advice = NODE_ADVICE
    elif fault == TIMED_OUT:
        advice = HUNG_ADVICE
    text = f"{what}. {advice}; then run the same command again: it continues where it stopped"
    return StoreUnavailableError(_redact(text, connection))


def not_qdrant_error(connection: Connection, why: str) -> StoreError:
    text = (
        f"{format_location(connection)} answers, but is not a Qdrant server ({why}): correct "
        "--store or QDRANT_URL; Qdrant's default port is 6333, or 6334 for gRPC"
    )
    return StoreError(_redact(text, connection))


def describe_error(error: Exception, connection: Connection) -> StoreError:
    """Describe an error that is not transient."""
    error = root_cause(error)
    message, tls_error, status = get_server_message(error), find_tls_error(error), get_status(error)
    if tls_error:
        message = tls_error
        template = TLS_VERSION_HINT if "version" in tls_error.lower() else CERTIFICATE_HINT
    elif status in (401, 403) and connection.is_key_withheld:
        template = WITHHELD_KEY_HINT
    elif status in STATUS_HINTS:
        template = STATUS_HINTS[status]
    elif message:
        hints = (hint for phrase, hint in MESSAGE_HINTS.items() if phrase in message)
        template = next(hints, REFUSED)
    else:
        template, message = FAILED, f"{type(error).__name__}: {_first_line(str(error))}"
    text = template.format(
        location=format_location(connection),
        message=message or "forbidden",
        wanted="wants an API key" if connection.api_key is None else "refused the API key",
    )
    kind = MissingIndexError if NO_INDEX in message else StoreError
    return kind(_redact(text, connection))


def _redact(text: str, connection: Connection) -> str:
    """Remove the key and the password from `text`."""
    for secret in (connection.api_key, urlsplit(connection.url).password):
        if secret:
            text = text.replace(secret, "***")
    return text
