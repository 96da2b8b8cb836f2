"""Says in words what a server has refused, and what to do about it. No secret is ever said."""

from __future__ import annotations

from urllib.parse import urlsplit

from indexer.errors import StoreError, StoreUnavailableError
from indexer.stores.qdrant.connection import Connection, redact_password
from indexer.stores.qdrant.errors import find_tls_error, get_server_message, get_status, root_cause
from indexer.stores.qdrant.retry import RetryTimeoutError

STATUS_HINTS = {
    401: "{place} {wanted}: set QDRANT_API_KEY to the right one (and QDRANT_READ_API_KEY, where "
    "it is set)",
    403: "the API key may not do this on {place} ({told}): set QDRANT_API_KEY to a key that may "
    "write",
    404: "{place} has no such collection or point ({told}); type: indexer ingest FOLDER",
    413: "{place} takes no request of this size ({told}): raise its max_request_size_mb",
}
"""By HTTP status."""
HINT_TEMPLATE = "Qdrant at {place} refused: {told}"
HINT_TEMPLATES = {
    "dimension": "{place} holds vectors of another length ({told}): name the collection's own "
    "model, or another collection with --collection",
    "larger than": "{place} takes no request of this size ({told})",
    "imit exceeded": HINT_TEMPLATE + "; ask for less, for example by a narrower --where",
}
"""By a word of the server's own."""
RETRY_HINT = "then type the same command again: it goes on where it stopped"


def format_location(connection: Connection) -> str:
    """The server's address as it may be shown: with the port, without a password."""
    url = redact_password(connection.url)
    if connection.grpc_port is not None:
        return f"{url} (gRPC on port {connection.grpc_port})"
    return url if urlsplit(url).port or urlsplit(url).path else f"{url}:6333"


def unavailable_error(connection: Connection, gave_up: RetryTimeoutError) -> StoreError:
    """The server did not answer, or could not, for all the time that it was waited for."""
    waited = f" for {gave_up.waited:.0f} s" if gave_up.waited >= 1 else ""
    return StoreUnavailableError(
        _redact(
            f"no answer from Qdrant at {format_location(connection)}{waited} "
            f"({gave_up.fault.message}). Start the server, or correct --store or "
            f"QDRANT_URL; {RETRY_HINT}",
            connection,
        )
    )


def describe_error(error: Exception, connection: Connection) -> StoreError:
    """What another try would not mend."""
    return StoreError(_redact(_format_error(root_cause(error), connection), connection))


def not_qdrant_error(connection: Connection, why: str) -> StoreError:
    return StoreError(
        _redact(
            f"{format_location(connection)} answers, and is no Qdrant server ({why}): correct "
            "--store or QDRANT_URL; Qdrant's own port is 6333, and 6334 for gRPC",
            connection,
        )
    )


def _format_error(error: Exception, connection: Connection) -> str:
    place, status, told = format_location(connection), get_status(error), get_server_message(error)
    trouble = find_tls_error(error)
    if trouble:
        return _format_tls_error(place, trouble)
    if status in STATUS_HINTS:
        wanted = "wants an API key" if connection.api_key is None else "refused the API key"
        return STATUS_HINTS[status].format(place=place, told=told or "forbidden", wanted=wanted)
    if told:
        return next(
            (hint for word, hint in HINT_TEMPLATES.items() if word in told), HINT_TEMPLATE
        ).format(place=place, told=told)
    return f"Qdrant at {place} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _format_tls_error(place: str, trouble: str) -> str:
    if "version" in trouble.lower():
        return f"{place} does not speak TLS ({trouble}): write http:// instead of https://"
    return (
        f"the certificate of {place} is not trusted ({trouble}): name the file of its authority "
        "with POLYLENS_QDRANT_CA, or use the host name that the certificate is for"
    )


def _redact(text: str, connection: Connection) -> str:
    """Without the key and the password, whoever has put them there."""
    for secret in (connection.api_key, urlsplit(connection.url).password):
        if secret:
            text = text.replace(secret, "***")
    return text
