"""Error messages for what a server refuses, with advice. They never contain secrets."""

from __future__ import annotations

from urllib.parse import urlsplit

from indexer.errors import StoreError, StoreUnavailableError
from indexer.stores.qdrant.connection import Connection, redact_password
from indexer.stores.qdrant.errors import find_tls_error, get_server_message, get_status, root_cause
from indexer.stores.qdrant.retry import RetryTimeoutError

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
HINT_TEMPLATE = "Qdrant at {location} refused: {message}"
HINT_TEMPLATES = {
    "dimension": "{location} has vectors of another dim ({message}): name the collection's own "
    "model, or another collection with --collection",
    "larger than": "{location} does not accept requests of this size ({message})",
    "imit exceeded": HINT_TEMPLATE + "; request less, for example with a narrower --where",
}
"""By a phrase in the server's message."""
RETRY_HINT = "then run the same command again: it continues where it stopped"


def format_location(connection: Connection) -> str:
    """The server's address for messages: with the port, without a password."""
    url = redact_password(connection.url)
    if connection.grpc_port is not None:
        return f"{url} (gRPC on port {connection.grpc_port})"
    return url if urlsplit(url).port or urlsplit(url).path else f"{url}:6333"


def unavailable_error(connection: Connection, timeout: RetryTimeoutError) -> StoreError:
    """Describe a server that did not answer before the retries ended."""
    waited = f" for {timeout.waited:.0f} s" if timeout.waited >= 1 else ""
    return StoreUnavailableError(
        _redact(
            f"no answer from Qdrant at {format_location(connection)}{waited} "
            f"({timeout.fault.message}). Start the server, or correct --store or "
            f"QDRANT_URL; {RETRY_HINT}",
            connection,
        )
    )


def describe_error(error: Exception, connection: Connection) -> StoreError:
    """Describe an error that is not transient."""
    return StoreError(_redact(_format_error(root_cause(error), connection), connection))


def not_qdrant_error(connection: Connection, why: str) -> StoreError:
    return StoreError(
        _redact(
            f"{format_location(connection)} answers, but is not a Qdrant server ({why}): correct "
            "--store or QDRANT_URL; Qdrant's default port is 6333, or 6334 for gRPC",
            connection,
        )
    )


def _format_error(error: Exception, connection: Connection) -> str:
    location, status, message = (
        format_location(connection),
        get_status(error),
        get_server_message(error),
    )
    tls_error = find_tls_error(error)
    if tls_error:
        return _format_tls_error(location, tls_error)
    if status in STATUS_HINTS:
        wanted = "wants an API key" if connection.api_key is None else "refused the API key"
        return STATUS_HINTS[status].format(
            location=location, message=message or "forbidden", wanted=wanted
        )
    if message:
        return next(
            (hint for word, hint in HINT_TEMPLATES.items() if word in message), HINT_TEMPLATE
        ).format(location=location, message=message)
    return (
        f"Qdrant at {location} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    )


def _format_tls_error(location: str, tls_error: str) -> str:
    if "version" in tls_error.lower():
        return f"{location} does not speak TLS ({tls_error}): write http:// instead of https://"
    return (
        f"the certificate of {location} is not trusted ({tls_error}): name the file of its "
        "authority with POLYLENS_QDRANT_CA, or use the host name that the certificate is for"
    )


def _redact(text: str, connection: Connection) -> str:
    """Remove the key and the password from `text`."""
    for secret in (connection.api_key, urlsplit(connection.url).password):
        if secret:
            text = text.replace(secret, "***")
    return text
