"""How to reach a server, and its client: API key, certificates, headers."""

from __future__ import annotations

import base64
import logging
import math
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from embedder.redaction import redact_secrets, redacted_repr
from indexer.errors import StoreError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

GRPC_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,  # else three channels share one connection
    # milliseconds; gRPC's default waits up to two minutes before it reconnects
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2000,
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connection:
    """A Qdrant server; the URL may have a name and a password for a proxy in front of it.

    Times are in seconds.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    grpc_port: int | None = None  # None: REST only
    ca: str | None = None  # a PEM file; None: the system's authorities
    timeout: float = 60.0  # of one request
    retry_seconds: float = 120.0  # how long to retry while the server is away or busy
    upload_concurrency: int = 2  # uploads at a time
    is_key_withheld: bool = False  # the settings have a key, and it is for another server

    __repr__ = redacted_repr


def make_client(connection: Connection) -> QdrantClient:
    """Create a client, without sending anything; raises `StoreError` for an invalid key or
    certificate.

    It is thread-safe. The key is sent as a header: with `api_key` the client would warn about every
    address without TLS, even localhost.
    """
    from qdrant_client import QdrantClient

    parts = urlsplit(connection.url)
    _warn_about_plain_keys(connection, parts)
    verify = _make_ssl_context(connection) if parts.scheme == "https" or connection.ca else False
    grpc: dict[str, Any] = {}
    if connection.grpc_port is not None:
        authorities = Path(connection.ca).read_bytes() if connection.ca else None
        grpc = {
            "prefer_grpc": True,
            "grpc_port": connection.grpc_port,
            "grpc_options": {**GRPC_OPTIONS, "root_certificates": authorities},
        }
    client = QdrantClient(
        url=parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        headers=_make_headers(connection, parts),
        timeout=math.ceil(connection.timeout),
        check_compatibility=False,  # only warns, from a thread; `Server` checks the version
        verify=verify,
        **grpc,
    )
    if connection.grpc_port is not None:
        _ = client.grpc_points, client.grpc_collections  # created here, before threads use it
    return client


def _make_headers(connection: Connection, parts: SplitResult) -> dict[str, str]:
    """Make the headers of REST and gRPC. Name and password are for a proxy in front of Qdrant."""
    headers = {}
    if connection.api_key:
        headers["api-key"] = key = connection.api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise StoreError(
                "the API key has characters that a key cannot have: correct QDRANT_API_KEY"
            )
    if parts.username or parts.password:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers


def _warn_about_plain_keys(connection: Connection, parts: SplitResult) -> None:
    """Warn, except for this machine and services in the same Docker network."""
    host = parts.hostname or ""
    is_local = "." not in host.strip("[]") or host.startswith("127.")
    if connection.api_key and parts.scheme == "http" and not is_local:
        log.warning(
            "the API key is sent to %s unencrypted: use https:// on networks you do not trust",
            redact_secrets(connection.url),
        )


def _make_ssl_context(connection: Connection) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=connection.ca)
    except (OSError, ssl.SSLError) as error:
        raise StoreError(
            f"qdrant_ca = {connection.ca} cannot be read: {error}; it is a file in PEM form with "
            "the certificate of the server's authority"
        ) from None
