"""Which hosts may be asked for what a list or a table points to.

What stands there was written by somebody else. So a URL is fetched only from the host of the list
itself and from hosts that the user has named, and a name that leads to a private address is refused
unless the list is on a private address too.
(OWASP, Server-Side Request Forgery Prevention Cheat Sheet.)
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from indexer.errors import IndexerError
from indexer.skips import Undecodable

if TYPE_CHECKING:
    import httpx

PORTS = {"http": 80, "https": 443}
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind NAT64, RFC 6052

Host = tuple[str, int]
Resolve = Callable[[str, int], Sequence[str]]


def addresses_of(host: str, port: int) -> list[str]:
    """The IP addresses that a name leads to; raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class Reach:
    """`origin` is the URL of the source that the user named, `hosts` what else may be asked:
    HOST for the usual ports, or HOST:PORT. Raises `IndexerError` for what is no host."""

    def __init__(self, origin: str | None, hosts: Sequence[str], resolve: Resolve) -> None:
        self._origin, self._named, self.resolve = origin, named_hosts(hosts), resolve
        self._inside: bool | None = None

    def require(self, url: str) -> httpx.URL:
        """`url`, parsed; raises `Undecodable` where nobody has named its host."""
        import httpx

        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise Undecodable("remote", "not a URL that could be fetched") from None
        if parsed.scheme not in PORTS or not parsed.host:
            kind = parsed.scheme or "no scheme"
            raise Undecodable("remote", f"only http and https are fetched, not {kind}")
        if not self._is_named(parsed):
            host = parsed.host if parsed.port is None else f"{parsed.host}:{parsed.port}"
            raise Undecodable("remote", f"not fetched: name its host with --allow-host {host}")
        return parsed

    def may_connect(self, host: str, port: int, addresses: Sequence[str]) -> bool:
        """Whether a name that is allowed may be asked at these addresses.

        The first look-up of the source's own name tells whether it is on a private network. What
        was public at first and then leads inside is not followed.
        """
        if (host, port) == self._own and self._inside is None:
            self._inside = not any(map(is_public, addresses))
        if all(map(is_public, addresses)):
            return True
        if self._own and self._own[0] == host:
            return bool(self._inside)
        literal = host in {*addresses, "localhost"}  # the user wrote the address itself
        return (bool(self._inside) or literal) and not any(map(_is_link_local, addresses))

    def _is_named(self, url: httpx.URL) -> bool:
        place = _place(url)
        own = self._own
        same = own is not None and own[0] == place[0]
        return (
            place in self._named
            or place == own
            or (same and own is not None and {own[1], place[1]} <= set(PORTS.values()))
        )

    @cached_property
    def _own(self) -> Host | None:
        import httpx

        return _place(httpx.URL(self._origin)) if self._origin else None


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, also where it is written as IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _is_link_local(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_link_local


def named_hosts(hosts: Sequence[str]) -> set[Host]:
    """What the user has allowed, with ports; raises `IndexerError` for what is no host."""
    return {named for host in hosts for named in _named(host)}


def _named(host: str) -> list[Host]:
    """`--allow-host` as hosts with ports; raises `IndexerError`."""
    import httpx

    try:
        url = httpx.URL(f"https://{host}")
    except httpx.InvalidURL:
        url = httpx.URL("https://")
    if not url.host or url.path not in {"", "/"} or url.userinfo or "://" in host:
        raise IndexerError(f"--allow-host: {host!r} is no host; type images.example.org, say")
    explicit = host.rpartition(":")[2].isdigit() and not host.endswith("]")
    ports = [url.port or 443] if explicit else list(PORTS.values())
    return [(url.raw_host.decode(), port) for port in ports]


def _place(url: httpx.URL) -> Host:
    return url.raw_host.decode(), url.port or PORTS.get(url.scheme, 0)
