"""Fetches by HTTP, and only from hosts that may be asked, also after a redirect.

The connection is made to the address that was looked at, so that a second look-up of the name
cannot tell another one. No proxy is asked: it would look names up for itself.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from indexer.skips import Undecodable
from indexer.sources.addresses import clean
from indexer.sources.hosts import Reach, Resolve, addresses_of

if TYPE_CHECKING:
    import httpcore
    import httpx

REDIRECTS = 5
TRIES = 3
BUSY = frozenset({408, 429, 500, 502, 503, 504})
WAITS = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 60.0}  # seconds
LONGEST = 600.0  # seconds that one file may take


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's bytes, and its header fields in lower case."""

    data: bytes
    fields: Mapping[str, str]
    partial: bool


@dataclass
class Web:
    """`origin` and `hosts` are those of `Reach`; `longest` is how many seconds a file may take."""

    origin: str | None
    hosts: Sequence[str] = ()
    resolve: Resolve = addresses_of
    sleep: Callable[[float], None] = time.sleep
    longest: float = LONGEST

    @cached_property
    def reach(self) -> Reach:
        return Reach(self.origin, self.hosts, self.resolve)

    def get(self, url: str, limit: int, start: int = 0, end: int | None = None) -> Answer:
        """At most `limit` bytes from `url`, those of [start, end) where given.

        Raises `Undecodable`: remote, unreadable, too-large.
        """
        for again in range(1, TRIES):
            try:
                return self._follow(url, limit, start, end)
            except _Busy:
                self.sleep(again * 1.0)
        try:
            return self._follow(url, limit, start, end)
        except _Busy as busy:
            raise Undecodable("unreadable", f"{clean(url)}: {busy}") from None

    def _follow(self, url: str, limit: int, start: int, end: int | None) -> Answer:
        import httpcore

        deadline = time.monotonic() + self.longest
        where = self.reach.require(url)
        for _ in range(REDIRECTS + 1):
            try:
                answer = self._ask(where, limit, start, end, deadline)
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                raise _Busy(str(error) or type(error).__name__) from None
            except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
                raise Undecodable("unreadable", f"{where.host}: {error}") from None
            if isinstance(answer, Answer):
                return answer
            where = self._redirected(where, answer)
        raise Undecodable("unreadable", f"{clean(url)}: more than {REDIRECTS} redirects")

    def _redirected(self, where: httpx.URL, target: str) -> httpx.URL:
        try:
            return self.reach.require(
                str(where.copy_with(username=None, password=None).join(target))
            )
        except Undecodable as refused:
            raise Undecodable(refused.reason, f"it redirects elsewhere; {refused.detail}") from None

    def _ask(
        self, where: httpx.URL, limit: int, start: int, end: int | None, deadline: float
    ) -> Answer | str:
        """The answer, or where it sends us."""
        ranged = start > 0 or end is not None
        headers = [("Host", where.netloc.decode()), ("User-Agent", "polylens"), ("Accept", "*/*")]
        headers += [("Accept-Encoding", "identity")]
        if ranged:
            headers.append(("Range", f"bytes={start}-{'' if end is None else end - 1}"))
        if where.userinfo:
            pair = f"{where.username}:{where.password}".encode()
            headers.append(("Authorization", f"Basic {b64encode(pair).decode()}"))
        bare = str(where.copy_with(username=None, password=None, fragment=None))
        with self._pool.stream(
            "GET", bare, headers=headers, extensions={"timeout": WAITS}
        ) as response:
            fields = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
            if response.status in {301, 302, 303, 307, 308} and "location" in fields:
                return fields["location"]
            _check_status(response.status, fields, where)
            partial = response.status == 206
            if ranged and not partial and start:
                raise Undecodable(
                    "unreadable",
                    f"{where.host} does not give parts of a file: download it, and ingest that",
                )
            most = limit if end is None else min(limit, end - start)
            cut = end is not None and not partial
            data = _read(response.iter_stream(), most, limit, deadline, cut=cut)
            return Answer(data, fields, partial)

    @cached_property
    def _pool(self) -> httpcore.ConnectionPool:
        import httpcore

        return httpcore.ConnectionPool(network_backend=_Guarded(self.reach), max_connections=32)  # type: ignore[arg-type]


class _Busy(Exception):  # noqa: N818
    """A failure that may pass."""


class _Guarded:
    """Connects to addresses that may be connected to; the network of `httpcore`."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        import httpcore

        try:
            addresses = self.reach.resolve(host, port)
        except OSError as error:
            why = error.strerror or str(error)
            raise Undecodable("unreadable", f"{host} is not found: {why}") from None
        if not addresses or not self.reach.may_connect(host, port, addresses):
            raise Undecodable("remote", f"not fetched: {host} leads to a private address")
        for address in addresses[:-1]:
            try:
                return httpcore.SyncBackend().connect_tcp(address, port, *args, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return httpcore.SyncBackend().connect_tcp(addresses[-1], port, *args, **options)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _check_status(status: int, fields: Mapping[str, str], where: httpx.URL) -> None:
    if status in BUSY:
        raise _Busy(f"the server answers {status}")
    if status in {401, 403}:
        raise Undecodable("unreadable", f"{where.host} answers {status}: it wants credentials")
    if status not in {200, 206}:
        raise Undecodable("unreadable", f"{where.host} answers {status}")
    if fields.get("content-encoding", "identity") != "identity":
        raise Undecodable("unreadable", f"{where.host} sends it compressed")


def _read(chunks: Any, most: int, limit: int, deadline: float, *, cut: bool) -> bytes:
    """At most `most` bytes; what is more is an error, unless the server was asked for less."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > most:
            if cut:
                return bytes(data[:most])
            raise Undecodable(
                "too-large", f"more than {limit:,} bytes, the limit: raise it with --max-bytes"
            )
        if time.monotonic() > deadline:
            raise Undecodable("unreadable", "the server is too slow")
    return bytes(data)
