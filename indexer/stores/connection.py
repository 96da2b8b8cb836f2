"""How a Qdrant server is reached, and how a collection is laid out on it. Plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connection:
    """A Qdrant server by its URL. Times are in seconds."""

    url: str
    api_key: str | None = None
    grpc_port: int | None = None  # None: REST alone
    ca: str | None = None  # a PEM file; None: the system's authorities
    timeout: float = 60.0  # of one request
    patience: float = 120.0  # how long a server that is away or busy is waited for
    streams: int = 2  # uploads at a time


@dataclass(frozen=True, slots=True)
class Layout:
    """How a new collection is kept on a server.

    `small`: all in RAM. `large`: originals on disk as float16, quantised in RAM. `huge`: the same,
    quantised to a bit or four, over shards and replicas. None is the server's own default.
    """

    profile: str = "small"
    shards: int | None = None
    replicas: int | None = None


def masked(store: object) -> str:
    """A store's URL without the password that may stand in it."""
    from urllib.parse import urlsplit

    parts = urlsplit(str(store))
    if not parts.password:
        return str(store)
    return str(store).replace(f":{parts.password}@", ":***@", 1)
