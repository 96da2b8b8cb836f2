"""The connection to a Qdrant server, and the layout of a collection on it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Connection:
    """A Qdrant server; the URL may have a name and a password for a proxy in front of it.

    Times are in seconds.
    """

    url: str
    api_key: str | None = None
    grpc_port: int | None = None  # None: REST only
    ca: str | None = None  # a PEM file; None: the system's authorities
    timeout: float = 60.0  # of one request
    retry_seconds: float = 120.0  # how long to retry while the server is away or busy
    upload_concurrency: int = 2  # uploads at a time


@dataclass(frozen=True, slots=True)
class Layout:
    """How a new collection is stored on a server; see `indexer.stores.qdrant.profiles.PROFILES`.

    `small`: all in RAM. `large`: originals on disk as float16, quantized in RAM to four bits per
    value. `huge`: two bits, with shards and replicas. None: the profile's default.
    """

    profile: str = "small"
    shards: int | None = None
    replicas: int | None = None


def redact_password(url: object) -> str:
    """The URL of a store without its password."""
    parts = urlsplit(str(url))
    if not parts.password:
        return str(url)
    return str(url).replace(f":{parts.password}@", ":***@", 1)
