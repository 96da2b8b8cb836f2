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

from indexer.skip_reasons import UnusableFileError
from indexer.sources.http.allowlist import HostPolicy, Resolver, resolve_host
from indexer.sources.paths import redact_url

if TYPE_CHECKING:
    import httpcore
    import httpx

MAX_REDIRECTS = 5
MAX_ATTEMPTS = 3
RETRY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 60.0}  # seconds
MAX_SECONDS = 600.0  # seconds that one file may take


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response's bytes, and its header fields in lower case."""

    data: bytes
    headers: Mapping[str, str]
    is_partial: bool


@dataclass
class HttpClient:
    """`origin` and `hosts` are those of `Reach`; `longest` is how many seconds a file may take."""

    origin: str | None
    allowed_hosts: Sequence[str] = ()
    resolve: Resolver = resolve_host
    sleep: Callable[[float], None] = time.sleep
    max_seconds: float = MAX_SECONDS

    @cached_property
    def policy(self) -> HostPolicy:
        return HostPolicy(self.origin, self.allowed_hosts, self.resolve)

    def get(self, url: str, limit: int, start: int = 0, end: int | None = None) -> HttpResponse:
        """At most `limit` bytes from `url`, those of [start, end) where given.

        Raises `Undecodable`: remote, unreadable, too-large.
        """
        for attempt in range(1, MAX_ATTEMPTS):
            try:
                return self._get_with_redirects(url, limit, start, end)
            except _RetryableError:
                self.sleep(attempt * 1.0)
        try:
            return self._get_with_redirects(url, limit, start, end)
        except _RetryableError as error:
            raise UnusableFileError("unreadable", f"{redact_url(url)}: {error}") from None

    def _get_with_redirects(
        self, url: str, limit: int, start: int, end: int | None
    ) -> HttpResponse:
        import httpcore

        deadline = time.monotonic() + self.max_seconds
        target = self.policy.check_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = self._request(target, limit, start, end, deadline)
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                raise _RetryableError(str(error) or type(error).__name__) from None
            except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
                raise UnusableFileError("unreadable", f"{target.host}: {error}") from None
            if isinstance(response, HttpResponse):
                return response
            target = self._check_redirect(target, response)
        raise UnusableFileError(
            "unreadable", f"{redact_url(url)}: more than {MAX_REDIRECTS} redirects"
        )

    def _check_redirect(self, url: httpx.URL, target: str) -> httpx.URL:
        try:
            return self.policy.check_url(
                str(url.copy_with(username=None, password=None).join(target))
            )
        except UnusableFileError as error:
            raise UnusableFileError(
                error.reason, f"it redirects elsewhere; {error.detail}"
            ) from None

    def _request(
        self, url: httpx.URL, limit: int, start: int, end: int | None, deadline: float
    ) -> HttpResponse | str:
        """The answer, or where it sends us."""
        is_range = start > 0 or end is not None
        headers = [("Host", url.netloc.decode()), ("User-Agent", "polylens"), ("Accept", "*/*")]
        headers += [("Accept-Encoding", "identity")]
        if is_range:
            headers.append(("Range", f"bytes={start}-{'' if end is None else end - 1}"))
        if url.userinfo:
            credentials = f"{url.username}:{url.password}".encode()
            headers.append(("Authorization", f"Basic {b64encode(credentials).decode()}"))
        bare_url = str(url.copy_with(username=None, password=None, fragment=None))
        with self._pool.stream(
            "GET", bare_url, headers=headers, extensions={"timeout": TIMEOUTS}
        ) as response:
            response_headers = {
                k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers
            }
            if response.status in {301, 302, 303, 307, 308} and "location" in response_headers:
                return response_headers["location"]
            _check_status(response.status, response_headers, url)
            is_partial = response.status == 206
            if is_range and not is_partial and start:
                raise UnusableFileError(
                    "unreadable",
                    f"{url.host} does not give parts of a file: download it, and ingest that",
                )
            max_bytes = limit if end is None else min(limit, end - start)
            truncate = end is not None and not is_partial
            data = _read_limited(
                response.iter_stream(), max_bytes, limit, deadline, truncate=truncate
            )
            return HttpResponse(data, response_headers, is_partial)

    @cached_property
    def _pool(self) -> httpcore.ConnectionPool:
        import httpcore

        backend = _PolicyBackend(self.policy)
        return httpcore.ConnectionPool(network_backend=backend, max_connections=32)  # type: ignore[arg-type]


class _RetryableError(Exception):
    """A failure that may pass."""


class _PolicyBackend:
    """Connects to addresses that may be connected to; the network of `httpcore`."""

    def __init__(self, policy: HostPolicy) -> None:
        self.policy = policy

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        import httpcore

        try:
            addresses = self.policy.resolve(host, port)
        except OSError as error:
            why = error.strerror or str(error)
            raise UnusableFileError("unreadable", f"{host} is not found: {why}") from None
        if not addresses or not self.policy.is_connection_allowed(host, port, addresses):
            raise UnusableFileError("remote", f"not fetched: {host} leads to a private address")
        for address in addresses[:-1]:
            try:
                return httpcore.SyncBackend().connect_tcp(address, port, *args, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return httpcore.SyncBackend().connect_tcp(addresses[-1], port, *args, **options)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _check_status(status: int, headers: Mapping[str, str], url: httpx.URL) -> None:
    if status in RETRY_STATUSES:
        raise _RetryableError(f"the server answers {status}")
    if status in {401, 403}:
        raise UnusableFileError("unreadable", f"{url.host} answers {status}: it wants credentials")
    if status not in {200, 206}:
        raise UnusableFileError("unreadable", f"{url.host} answers {status}")
    if headers.get("content-encoding", "identity") != "identity":
        raise UnusableFileError("unreadable", f"{url.host} sends it compressed")


def _read_limited(
    chunks: Any, max_bytes: int, limit: int, deadline: float, *, truncate: bool
) -> bytes:
    """At most `most` bytes; what is more is an error, unless the server was asked for less."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > max_bytes:
            if truncate:
                return bytes(data[:max_bytes])
            raise UnusableFileError(
                "too-large", f"more than {limit:,} bytes, the limit: raise it with --max-bytes"
            )
        if time.monotonic() > deadline:
            raise UnusableFileError("unreadable", "the server is too slow")
    return bytes(data)
