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

from embedder.origin import DEFAULT_PORTS, normalize_host, parse_host_and_port
from indexer.errors import IndexerError, UnusableFileError
from indexer.paths import redact_url

if TYPE_CHECKING:
    import httpx

GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out
LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215; where its IPv4 is, is not known
EMBEDDED_IPV4 = {  # network -> where its addresses hold an IPv4 address, in bits from the right
    "::/96": (0,),  # IPv4-compatible, RFC 4291
    "::ffff:0:0/96": (0,),  # mapped, RFC 4291
    "::ffff:0:0:0/96": (0,),  # translated, RFC 2765
    "64:ff9b::/96": (0,),  # NAT64, RFC 6052
    "2002::/16": (80,),  # 6to4, RFC 3056
    "2001::/32": (64, 0),  # Teredo, RFC 4380: the server, and the client with its bits inverted
}
EMBEDDING_NETWORKS = {ipaddress.IPv6Network(n): bits for n, bits in EMBEDDED_IPV4.items()}
ISATAP_IDENTIFIERS = {0x00005EFE, 0x02005EFE}  # before the IPv4 address, RFC 5214
SPECIAL_IPV4 = [  # beside what `ipaddress` of every Python knows not to be global
    ipaddress.IPv4Network(network)
    for network in ("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15")
]

HostPort = tuple[str, int]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
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
        IndexerError: `origin` is not a URL, or one of `hosts` is not a host.
    """

    def __init__(self, origin: str | None, hosts: Sequence[str], resolve: Resolver) -> None:
        import httpx

        self.resolve = resolve
        try:
            self._origin_host = _host_and_port(httpx.URL(origin)) if origin else None
        except (httpx.InvalidURL, ValueError) as error:
            raise IndexerError(f"{redact_url(origin or '')!r} is not a URL ({error})") from None
        self._origin_is_private: bool | None = None
        self._allowed_hosts = parse_allowed_hosts(hosts)

    def check_url(self, url: str, base: httpx.URL | None = None) -> httpx.URL:
        """Return `url`, parsed; raises `UnusableFileError` if its host is not allowed.

        `base` is what it is relative to, as the location of a redirect is.
        """
        import httpx

        try:
            parsed = base.join(url) if base else httpx.URL(url)
            host = parsed.host  # decodes IDNA
        except (httpx.InvalidURL, ValueError, TypeError):
            raise UnusableFileError("remote", "not a URL that could be fetched") from None
        if parsed.scheme not in DEFAULT_PORTS or not host:
            protocol = parsed.scheme or "no scheme"
            raise UnusableFileError("remote", f"only http and https are fetched, not {protocol}")
        if not self._is_host_allowed(parsed):
            host = f"[{host}]" if ":" in host else host
            port = "" if parsed.port is None else f":{parsed.port}"
            raise UnusableFileError(
                "remote", f"not fetched: name its host with --allow-host {host}{port}"
            )
        return parsed

    def is_connection_allowed(self, host: str, port: int, addresses: Sequence[str]) -> bool:
        """Whether a connection to an allowed name may be made at these addresses.

        The first look-up of the source's own name decides whether it is on a private network. A
        name that was public first and private later is refused.
        """
        host = normalize_host(host)
        if (host, port) == self._origin_host and self._origin_is_private is None:
            self._origin_is_private = not any(map(is_public_address, addresses))
        if all(map(is_public_address, addresses)):
            return True
        if self._origin_host and self._origin_host[0] == host:
            return bool(self._origin_is_private)
        if any(map(is_link_local_address, addresses)):
            return False
        # or the user wrote the address itself
        is_named = host in {*map(normalize_host, addresses), "localhost"}
        return bool(self._origin_is_private) or is_named

    def _is_host_allowed(self, url: httpx.URL) -> bool:
        host, origin = _host_and_port(url), self._origin_host
        if host in self._allowed_hosts or host == origin:
            return True
        if origin is None or origin[0] != host[0]:
            return False
        return {origin[1], host[1]} <= set(DEFAULT_PORTS.values())


def is_public_address(address: str) -> bool:
    """Whether an IP address is public, and any IPv4 address that is written into it too."""
    return all(map(_is_global, _list_meant_addresses(address)))


def is_link_local_address(address: str) -> bool:
    """Whether an IP address leads to the link, where clouds have the keys of their machines."""
    meant = _list_meant_addresses(address)
    return any(ip.is_link_local or ip in LOCAL_NAT64 for ip in meant)


def parse_allowed_hosts(hosts: Sequence[str]) -> set[HostPort]:
    """Return the hosts of `--allow-host` with their ports; raises `IndexerError`."""
    allowed: set[HostPort] = set()
    for text in hosts:
        try:
            host, port = parse_host_and_port(text)
        except ValueError as error:
            raise IndexerError(f"--allow-host: {text!r} is not a host; {error}") from None
        allowed.update((host, p) for p in ([port] if port else DEFAULT_PORTS.values()))
    return allowed


def _list_meant_addresses(address: str) -> list[IPAddress]:
    """The addresses that packets to `address` may reach: an IPv6 address may hold IPv4 ones."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address) or int(ip) <= 1:  # :: and ::1 hold none
        return [ip]
    number = int(ip)
    for network, positions in EMBEDDING_NETWORKS.items():
        if ip in network:
            inner = [ipaddress.IPv4Address(number >> bits & 0xFFFFFFFF) for bits in positions]
            if len(inner) == 2:  # Teredo's client
                inner[1] = ipaddress.IPv4Address(int(inner[1]) ^ 0xFFFFFFFF)
            return list(inner)
    if number >> 32 & 0xFFFFFFFF in ISATAP_IDENTIFIERS:
        return [ip, ipaddress.IPv4Address(number & 0xFFFFFFFF)]
    return [ip]


def _is_global(ip: IPAddress) -> bool:
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in GLOBAL_UNICAST and ip.is_global
    return ip.is_global and not ip.is_multicast and not any(ip in net for net in SPECIAL_IPV4)


def _host_and_port(url: httpx.URL) -> HostPort:
    return normalize_host(url.raw_host.decode()), url.port or DEFAULT_PORTS.get(url.scheme, 0)
