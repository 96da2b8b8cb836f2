"""The name of a remote model: `http://host:8000/v1`, or `http://host:8000/v1#MODEL`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from embedder.errors import UnknownModelError

DEFAULT_PORTS = {"http": 80, "https": 443}
EXAMPLE = "http://localhost:8000/v1 or http://localhost:8000/v1#MODEL"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. `url` and `model_name` have no credentials: they are shown and stored."""

    url: str
    model: str | None
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def model_name(self, model: str) -> str:
        return f"{self.url}#{model}"

    @property
    def is_local(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def parse_address(name: str) -> Address:
    """Parse a model's name and normalize its URL; raises `UnknownModelError`."""
    try:
        parts = urlsplit(name.strip())
        port = parts.port
    except ValueError as error:
        raise UnknownModelError(f"a server's address is wrong ({error}); type {EXAMPLE}") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise UnknownModelError(f"a server's address has no host; type {EXAMPLE}")
    if parts.query:
        raise UnknownModelError(f"a server's address cannot have a '?'; type {EXAMPLE}")
    return Address(
        url=_normalize_url(parts, port),
        model=unquote(parts.fragment) or None,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _normalize_url(parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    shown_port = f":{port}" if port and port != DEFAULT_PORTS[parts.scheme] else ""
    return f"{parts.scheme}://{host}{shown_port}{parts.path.rstrip('/')}"
