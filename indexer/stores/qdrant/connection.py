"""How a Qdrant server is reached, and how a collection is laid out on it. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Connection:
    """A Qdrant server by its URL, which may hold a name and a password for what stands before it.

    Times are in seconds.
    """

    url: str
    api_key: str | None = None
    grpc_port: int | None = None  # None: REST alone
    ca: str | None = None  # a PEM file; None: the authorities that everybody trusts
    timeout: float = 60.0  # of one request
    retry_seconds: float = 120.0  # how long a server that is away or busy is waited for
    upload_concurrency: int = 2  # uploads at a time


@dataclass(frozen=True, slots=True)
class Layout:
    """How a new collection is stored on a server; see `indexer.stores.qdrant.profiles.PROFILES`.

    `small`: all in RAM. `large`: originals on disk as float16, quantised in RAM to four bits a
    number. `huge`: to two bits, over shards and replicas. None is the profile's own.
    """

    profile: str = "small"
    shards: int | None = None
    replicas: int | None = None


def redact_password(url: object) -> str:
    """A store's URL without the password that may stand in it."""
    parts = urlsplit(str(url))
    if not parts.password:
        return str(url)
    return str(url).replace(f":{parts.password}@", ":***@", 1)
