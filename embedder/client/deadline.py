"""Limits of time and size for a whole HTTP exchange, in httpx and httpcore.

Their own timeouts are for one read each: a server that sends a byte a second never runs into them.
Here connecting, the TLS handshake, the request, headers and body share one deadline. Only the
look-up of a name has none; the resolver of the system ends it after some seconds.

They read a response to its end, and unpack it, however long it gets. Here the bytes of headers and
body are counted, and what is compressed is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

WRITE_BYTES = 1 << 16  # at once; a write of more would have its timeout many times


class DeadlineError(TimeoutError):
    """The exchange has not ended in time."""


class ResponseError(Exception):
    """The response is longer than allowed, or compressed."""


class DeadlineBackend:
    """A network backend whose connections keep the limits of the thread that uses them.

    It wraps the backend of httpcore, or of a library with the same interface.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._thread = threading.local()

    @contextmanager
    def limit(self, seconds: float, size: float = inf) -> Iterator[None]:
        """Limit what this thread sends and reads in the context.

        It raises `DeadlineError` after so many seconds, and `ResponseError` after `size` bytes
        that were read.
        """
        self._thread.deadline = time.monotonic() + seconds
        self._thread.size = self._thread.left = size
        try:
            yield
        finally:
            self._thread.deadline = self._thread.left = inf

    def count(self, data: bytes) -> bytes:
        """Return `data`, which was read; raises `ResponseError`."""
        self._thread.left = getattr(self._thread, "left", inf) - len(data)
        if self._thread.left < 0:
            raise ResponseError(f"the response is longer than {self._thread.size / 2**20:g} MiB")
        return data

    def bound(self, timeout: float | None) -> float | None:
        """Return the shorter of `timeout` and what is left; raises `DeadlineError`."""
        left: float = getattr(self._thread, "deadline", inf) - time.monotonic()
        if left <= 0:
            raise DeadlineError("the time limit is over")
        if left == inf:
            return timeout
        return left if timeout is None else min(timeout, left)

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, **options: Any
    ) -> _DeadlineStream:
        stream = self._backend.connect_tcp(host, port, timeout=self.bound(timeout), **options)
        return _DeadlineStream(stream, self)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _DeadlineStream:
    def __init__(self, stream: Any, backend: DeadlineBackend) -> None:
        self._stream, self._backend = stream, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._backend.count(self._stream.read(max_bytes, self._backend.bound(timeout)))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), WRITE_BYTES):
            part = buffer[start : start + WRITE_BYTES]
            self._stream.write(part, self._backend.bound(timeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> _DeadlineStream:
        timeout = self._backend.bound(timeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        return _DeadlineStream(stream, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


def install_limits(client: Any) -> DeadlineBackend:
    """Let the connections of an `httpx.Client`, those to proxies too, keep limits.

    httpx has no parameter for the network backend of its transports.
    """
    client.headers["Accept-Encoding"] = "identity"
    client.event_hooks["response"].append(_prepare_response)
    transports = [client._transport, *(t for t in client._mounts.values() if t is not None)]
    backend = DeadlineBackend(client._transport._pool._network_backend)
    for transport in transports:
        transport._pool._network_backend = backend
    return backend


def _prepare_response(response: Any) -> None:
    """Refuse a response that would be unpacked without a limit; runs before its body is read."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ResponseError(f"the response is compressed ({encoding}), which was not asked for")
    response.encoding = "utf-8"  # not what the server names, which need not be one of texts
