"""Makes the client of a server: its key, its certificates, what else it sends."""

from __future__ import annotations

import base64
import logging
import math
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from indexer.errors import StoreError
from indexer.stores.qdrant.connection import Connection, redact_password

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

GRPC_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,  # else the client's three channels are one connection
    # milliseconds; gRPC would let up to two minutes pass before it looks for a server again
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2000,
}
log = logging.getLogger(__name__)


def make_client(connection: Connection) -> QdrantClient:
    """A client that has sent nothing yet; raises `StoreError` for a key or a certificate that is
    none.

    It is safe in threads. The key goes as a header: with `api_key` the client warns of every
    address without TLS, the own machine's too.
    """
    from qdrant_client import QdrantClient

    parts = urlsplit(connection.url)
    _warn_about_plain_keys(connection, parts)
    grpc: dict[str, Any] = {}
    if connection.grpc_port is not None:
        grpc = {"prefer_grpc": True, "grpc_port": connection.grpc_port}
        grpc["grpc_options"] = {
            **GRPC_OPTIONS,
            "root_certificates": _read_root_certificates(connection),
        }
    client = QdrantClient(
        url=parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        headers=_make_headers(connection, parts),
        timeout=math.ceil(connection.timeout),
        check_compatibility=False,  # a thread that warns; `Server` asks, and says what to do
        verify=_make_ssl_context(connection) if parts.scheme == "https" else False,
        **grpc,
    )
    if connection.grpc_port is not None:
        _ = client.grpc_points, client.grpc_collections  # made here, and not by two threads at once
    return client


def _make_headers(connection: Connection, parts: SplitResult) -> dict[str, str]:
    """Of REST and gRPC alike. The name and password are for a proxy that stands before Qdrant."""
    headers = {}
    if connection.api_key:
        headers["api-key"] = key = connection.api_key.strip()
        if not (key.isascii() and key.isprintable()):
            raise StoreError("the API key holds what no key can hold: set QDRANT_API_KEY anew")
    if parts.username or parts.password:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers


def _warn_about_plain_keys(connection: Connection, parts: SplitResult) -> None:
    """Not of this machine, nor of a service beside us in the same composition."""
    host = parts.hostname or ""
    near = "." not in host.strip("[]") or host.startswith("127.")
    if connection.api_key and parts.scheme == "http" and not near:
        log.warning(
            "the API key goes to %s unencrypted: use https:// where others may listen",
            redact_password(connection.url),
        )


def _make_ssl_context(connection: Connection) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=connection.ca)
    except (OSError, ssl.SSLError) as error:
        raise StoreError(
            f"qdrant_ca = {connection.ca} cannot be read: {error}; it is a file in PEM form with "
            "the certificate of the server's authority"
        ) from None


def _read_root_certificates(connection: Connection) -> bytes | None:
    """What gRPC trusts; None: its own list."""
    if connection.ca is None:
        return None
    _make_ssl_context(connection)
    return Path(connection.ca).read_bytes()
