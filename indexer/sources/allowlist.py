"""The hosts from which the URLs of a list or a table may be fetched.

Somebody else wrote those URLs. So they are fetched only from the list's own host and from hosts
that the user has named, and a name with a private address is refused unless the list is on a
private address too. (OWASP, Server-Side Request Forgery Prevention Cheat Sheet.)
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from indexer.errors import IndexerError, UnusableFileError

if TYPE_CHECKING:
    import httpx

DEFAULT_PORTS = {"http": 80, "https": 443}
NAT64_NETWORK = ipaddress.ip_network("64:ff9b::/96")  # IPv4 behind NAT64, RFC 6052

HostPort = tuple[str, int]
Resolver = Callable[[str, int], Sequence[str]]


def resolve_host(host: str, port: int) -> list[str]:
    """Return the IP addresses of a name; raises `OSError`."""
    results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in results))


class HostPolicy:
    """Decides which URLs are fetched.

    Args:
        origin: The URL of the source that the user named.
        hosts: The other allowed hosts: HOST for the usual ports, or HOST:PORT.
        resolve: Looks a name up.

    Raises:
        IndexerError: One of `hosts` is not a host.
    """

    def __init__(self, origin: str | None, hosts: Sequence[str], resolve: Resolver) -> None:
        import httpx

        self.resolve = resolve
        self._origin_host = _host_and_port(httpx.URL(origin)) if origin else None
        self._origin_is_private: bool | None = None
        self._allowed_hosts = parse_allowed_hosts(hosts)

    def check_url(self, url: str) -> httpx.URL:
        """Return `url`, parsed; raises `UnusableFileError` if its host is not allowed."""
        import httpx

        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise UnusableFileError("remote", "not a URL that could be fetched") from None
        if parsed.scheme not in DEFAULT_PORTS or not parsed.host:
            protocol = parsed.scheme or "no scheme"
            raise UnusableFileError("remote", f"only http and https are fetched, not {protocol}")
        if not self._is_host_allowed(parsed):
            host = parsed.host if parsed.port is None else f"{parsed.host}:{parsed.port}"
            raise UnusableFileError(
                "remote", f"not fetched: name its host with --allow-host {host}"
            )
        return parsed

    def is_connection_allowed(self, host: str, port: int, addresses: Sequence[str]) -> bool:
        """Whether a connection to an allowed name may be made at these addresses.

        The first look-up of the source's own name decides whether it is on a private network. A
        name that was public first and private later is refused.
        """
        if (host, port) == self._origin_host and self._origin_is_private is None:
            self._origin_is_private = not any(map(is_public_address, addresses))
        if all(map(is_public_address, addresses)):
            return True
        if self._origin_host and self._origin_host[0] == host:
            return bool(self._origin_is_private)
        if any(ipaddress.ip_address(a.partition("%")[0]).is_link_local for a in addresses):
            return False
        # or the user wrote the address itself
        return bool(self._origin_is_private) or host in {*addresses, "localhost"}

    def _is_host_allowed(self, url: httpx.URL) -> bool:
        host, origin = _host_and_port(url), self._origin_host
        if host in self._allowed_hosts or host == origin:
            return True
        if origin is None or origin[0] != host[0]:
            return False
        return {origin[1], host[1]} <= set(DEFAULT_PORTS.values())


def is_public_address(address: str) -> bool:
    """Whether an IP address is public, also if it is an IPv4 address written as IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64_NETWORK:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public_address(str(inner))
    return ip.is_global and not ip.is_multicast


def parse_allowed_hosts(hosts: Sequence[str]) -> set[HostPort]:
    """Return the hosts of `--allow-host` with their ports; raises `IndexerError`."""
    import httpx

    allowed: set[HostPort] = set()
    for host in hosts:
        try:
            url = httpx.URL(f"https://{host}")
        except httpx.InvalidURL:
            url = httpx.URL("https://")
        if not url.host or url.path not in {"", "/"} or url.userinfo or "://" in host:
            raise IndexerError(
                f"--allow-host: {host!r} is not a host; expected for example images.example.org"
            )
        has_port = host.rpartition(":")[2].isdigit() and not host.endswith("]")
        ports = [url.port or 443] if has_port else DEFAULT_PORTS.values()
        allowed.update((url.raw_host.decode(), port) for port in ports)
    return allowed


def _host_and_port(url: httpx.URL) -> HostPort:
    return url.raw_host.decode(), url.port or DEFAULT_PORTS.get(url.scheme, 0)
