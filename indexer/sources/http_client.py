"""An HTTP client that fetches only from allowed hosts, also after a redirect.

It connects to the address that the policy checked, so that a second look-up of the name cannot
give another one. It uses no proxy: a proxy would look names up itself.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from embedder.client.deadline import DeadlineBackend, DeadlineError
from indexer.errors import UnusableFileError, unreadable
from indexer.paths import redact_url
from indexer.sources.allowlist import HostPolicy, Resolver, resolve_host

if TYPE_CHECKING:
    import httpcore
    import httpx

MAX_REDIRECTS = 5
MAX_ATTEMPTS = 3
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
RETRY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 60.0}  # seconds
MAX_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The bytes of a response, and its headers in lower case."""

    data: bytes
    headers: Mapping[str, str]
    is_partial: bool


@dataclass
class HttpClient:
    """Fetches files. `origin` and `allowed_hosts` are those of `HostPolicy`.

    `max_seconds` is how long one file may take, its redirects and retries included.
    """

    origin: str | None
    allowed_hosts: Sequence[str] = ()
    resolve: Resolver = resolve_host
    sleep: Callable[[float], None] = time.sleep
    max_seconds: float = MAX_SECONDS

    @cached_property
    def policy(self) -> HostPolicy:
        return HostPolicy(self.origin, self.allowed_hosts, self.resolve)

    def get(self, url: str, limit: int, start: int | None = None) -> HttpResponse:
        """Fetch a file, or a range of it.

        Args:
            url: A URL of an allowed host.
            limit: The largest number of bytes. A longer file is an error, unless `start` is given.
            start: Fetch the `limit` bytes that begin here.

        Raises:
            UnusableFileError: "remote" for a host that is not allowed, "too-large", "unreadable".
        """
        from tenacity import (
            Retrying,
            retry_if_exception_type,
            stop_after_attempt,
            wait_incrementing,
        )

        retrying = Retrying(
            stop=stop_after_attempt(MAX_ATTEMPTS),
            wait=wait_incrementing(start=1, increment=1),  # seconds
            retry=retry_if_exception_type(_RetryableError),
            sleep=lambda seconds: self.sleep(self._backend.bound(seconds) or 0),
            reraise=True,
        )
        try:
            with self._backend.limit(self.max_seconds):  # with its redirects and retries
                return retrying(self._get_with_redirects, url, limit, start)
        except _RetryableError as error:
            raise unreadable(f"{redact_url(url)}: {error}") from None
        except DeadlineError:
            raise unreadable(
                f"{redact_url(url)}: the server is too slow; it had {self.max_seconds:g} seconds"
            ) from None

    def _get_with_redirects(self, url: str, limit: int, start: int | None) -> HttpResponse:
        import httpcore

        target = self.policy.check_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            try:
                response = self._request(target, limit, start)
            except DeadlineError:
                raise
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                self._backend.bound(None)  # at the end of the time, another try is none
                raise _RetryableError(str(error) or type(error).__name__) from None
            except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
                raise unreadable(f"{target.host}: {error}") from None
            if isinstance(response, HttpResponse):
                return response
            bare_url = target.copy_with(username=None, password=None)
            try:
                target = self.policy.check_url(response, bare_url)
            except UnusableFileError as error:
                detail = f"it redirects elsewhere; {error.detail}"
                raise UnusableFileError(error.reason, detail) from None
        raise unreadable(f"{redact_url(url)}: more than {MAX_REDIRECTS} redirects")

    def _request(self, url: httpx.URL, limit: int, start: int | None) -> HttpResponse | str:
        """Send one request; return the response, or the location that it redirects to."""
        headers = {
            "Host": url.netloc.decode(),
            "User-Agent": "polylens",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        if start is not None:
            headers["Range"] = f"bytes={start}-{start + limit - 1}"
        if url.userinfo:
            credentials = f"{url.username}:{url.password}".encode()
            headers["Authorization"] = f"Basic {b64encode(credentials).decode()}"
        with self._pool.stream(
            "GET",
            str(url.copy_with(username=None, password=None, fragment=None)),
            headers=list(headers.items()),
            extensions={"timeout": TIMEOUTS},
        ) as response:
            fields = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
            if response.status in REDIRECT_STATUSES and "location" in fields:
                return fields["location"]
            _check_status(response.status, fields, url)
            is_partial = response.status == 206
            if start and not is_partial:
                raise unreadable(
                    f"{url.host} does not serve ranges of a file: download it, and ingest that"
                )
            data = bytearray()
            for chunk in response.iter_stream():
                data += chunk
                if len(data) > limit and start is not None:
                    break
                if len(data) > limit:
                    raise UnusableFileError(
                        "too-large",
                        f"more than {limit:,} bytes, the limit: raise it with --max-bytes",
                    )
            return HttpResponse(bytes(data[:limit]), fields, is_partial)

    @cached_property
    def _backend(self) -> DeadlineBackend:
        return DeadlineBackend(_PolicyBackend(self.policy))

    @cached_property
    def _pool(self) -> httpcore.ConnectionPool:
        import httpcore

        return httpcore.ConnectionPool(network_backend=self._backend, max_connections=32)  # type: ignore[arg-type]


class _RetryableError(Exception):
    """A failure that may be temporary."""


class _PolicyBackend:
    """The network backend of `httpcore`: connects to allowed addresses only."""

    def __init__(self, policy: HostPolicy) -> None:
        self.policy = policy

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        import httpcore

        try:
            addresses = self.policy.resolve(host, port)
        except OSError as error:
            raise unreadable(f"{host} was not found: {error.strerror or error}") from None
        if not addresses or not self.policy.is_connection_allowed(host, port, addresses):
            raise UnusableFileError("remote", f"not fetched: {host} has a private address")
        for address in addresses[:-1]:
            try:
                return httpcore.SyncBackend().connect_tcp(address, port, *args, **options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return httpcore.SyncBackend().connect_tcp(addresses[-1], port, *args, **options)


def _check_status(status: int, headers: Mapping[str, str], url: httpx.URL) -> None:
    if status in RETRY_STATUSES:
        raise _RetryableError(f"the server answers {status}")
    if status in {401, 403}:
        raise unreadable(f"{url.host} answers {status}: it requires credentials")
    if status not in {200, 206}:
        raise unreadable(f"{url.host} answers {status}")
    if headers.get("content-encoding", "identity") != "identity":
        raise unreadable(f"{url.host} sends it compressed")
