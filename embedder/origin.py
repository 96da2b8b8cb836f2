"""The server that a URL names: its scheme, host and port.

A key is for one of them, and is sent to no other.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
EXPECTED_HOST = "expected a host such as images.example.org, HOST:PORT, or [IPv6]:PORT"
HOST_PATTERN = re.compile(
    r"(?:\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<host>[\w.-]+|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*))"
    r"(?::(?P<port>\d{1,5}))?",
    re.IGNORECASE,
)


class Origin(NamedTuple):
    """A server; two names of one machine are two origins."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port == DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{host}" + ("" if is_default else f":{self.port}")


def parse_origin(url: str | None) -> Origin | None:
    """Return the server of an http(s) URL; None for anything else."""
    try:
        parts = urlsplit((url or "").strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, normalize_host(parts.hostname), port or DEFAULT_PORTS[parts.scheme])


def is_same_origin(url: str | None, other: str | None) -> bool:
    """Return whether both are URLs of one server."""
    origin = parse_origin(url)
    return origin is not None and origin == parse_origin(other)


def may_send_key(owner: str | None, url: str) -> bool:
    """Return whether a key may be sent to `url`: `owner`, the URL of the server that it is for, is
    None for a key that was given for this one."""
    return owner is None or is_same_origin(owner, url)


def parse_host_and_port(text: str) -> tuple[str, int | None]:
    """Parse HOST, HOST:PORT, [IPv6], [IPv6]:PORT, or IPv6 with or without :PORT.

    Returns:
        The host as `normalize_host` spells it, and the port, None where there is none.

    Raises:
        ValueError: It is neither; with what was expected.
    """
    match = HOST_PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(EXPECTED_HOST)
    host, port = match["bracketed"] or match["host"], match["port"]
    if match["bracketed"]:
        host = _parse_ipv6(host)
    elif ":" in host:
        host, port = _split_ipv6(host)
    if port is not None and not 0 < int(port) <= 65535:
        raise ValueError("expected a port from 1 to 65535")
    return normalize_host(host), None if port is None else int(port)


def normalize_host(host: str) -> str:
    """Return a host in one spelling: lower case, IDNA, no dot at the end, short IPv6."""
    host = host.strip("[]").lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if host.isascii():
        return host
    import httpx  # its IDNA is the one that is connected to; Python's has other rules for ß

    try:
        return httpx.URL(scheme="http", host=host).raw_host.decode()
    except httpx.InvalidURL:
        return host


def _split_ipv6(text: str) -> tuple[str, str | None]:
    """Split IPv6 without brackets from its port; an address that ends like one is ambiguous."""
    rest, _, port = text.rpartition(":")
    has_port = port.isdecimal() and _is_ipv6(rest)
    if not has_port:
        return _parse_ipv6(text), None
    # ::1:8080 as an address would be one that nothing has
    if _is_ipv6(text) and int(ipaddress.IPv6Address(text)) >> 32:
        raise ValueError(f"expected [{rest}]:{port} for a port, or [{text}] for an address")
    return rest, port


def _parse_ipv6(text: str) -> str:
    if not _is_ipv6(text):
        raise ValueError(EXPECTED_HOST)
    return text


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False
