"""A time limit for a whole HTTP exchange, in httpx and httpcore.

Their own timeouts are for one read each: a server that sends a byte a second never runs into them.
Here connecting, the TLS handshake, the request, headers and body share one deadline. Only the
look-up of a name has none; the resolver of the system ends it after some seconds.
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


class DeadlineBackend:
    """A network backend whose connections keep the deadline of the thread that uses them.

    It wraps the backend of httpcore, or of a library with the same interface.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._thread = threading.local()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Raise `DeadlineError` from what this thread sends or reads after so many seconds."""
        self._thread.deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._thread.deadline = inf

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
        return bytes(self._stream.read(max_bytes, self._backend.bound(timeout)))

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


def install_deadline(client: Any) -> DeadlineBackend:
    """Let the connections of an `httpx.Client`, those to proxies too, keep deadlines.

    httpx has no parameter for the network backend of its transports.
    """
    transports = [client._transport, *(t for t in client._mounts.values() if t is not None)]
    backend = DeadlineBackend(client._transport._pool._network_backend)
    for transport in transports:
        transport._pool._network_backend = backend
    return backend
