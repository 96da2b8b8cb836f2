"""One Qdrant server: its client, retries, and errors."""

from __future__ import annotations

import atexit
import json
import logging
import re
import threading
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from indexer.errors import IndexerError, StoreError, StoreUnavailableError
from indexer.stores.qdrant.client import Connection, make_client
from indexer.stores.qdrant.errors import (
    RetryTimeoutError,
    TransientError,
    describe_error,
    find_transient_error,
    format_location,
    get_status,
    not_qdrant_error,
    unavailable_error,
)
from indexer.stores.qdrant.retry import Clock, call_with_retry

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")
FIRST_CONTACT_SECONDS = 10.0  # seconds to wait for a server never seen: its address may be mistyped
LOG_AFTER_SECONDS = 1.0  # seconds of waiting that are not logged
log = logging.getLogger(__name__)


@cache
def get_server(connection: Connection) -> Server:
    """The process's one server at `connection`."""
    server = Server(connection)
    atexit.register(server.close)  # gRPC complains about channels that are open at exit
    return server


class Server:
    """A Qdrant server. Thread-safe; calls run concurrently."""

    def __init__(self, connection: Connection, clock: Clock | None = None) -> None:
        self.connection = connection
        self._clock = clock or Clock()
        self._client: QdrantClient | None = None
        self._met = False  # it has answered
        self._checked = False  # it is Qdrant, of a version that this client supports
        self._waiting = False  # an outage has been logged
        self._answered = float("-inf")  # when the end of the last outage was logged
        self._lock = threading.Lock()

    def call(
        self,
        operation: Callable[[QdrantClient], T],
        *,
        retry_seconds: float | None = None,
        stop: threading.Event | None = None,
        is_read: bool = False,
    ) -> T:
        """Run `operation`, with retries while the server is away or busy; it must be idempotent.

        The server's version is checked before the first call that writes; for reads (`is_read`)
        only after one has failed.

        `retry_seconds` are from the first failure (default: the connection's); `stop` ends the
        waiting. Raises `StoreUnavailableError` when the time is up, `StoreError` at once for an
        error that is not transient.
        """
        if retry_seconds is None:
            retry_seconds = self.connection.retry_seconds
        client = self._ensure_client()
        if not self._met:
            retry_seconds = min(retry_seconds, FIRST_CONTACT_SECONDS)
        if not (self._checked or is_read):
            self._check_server(client, retry_seconds, stop)
        try:
            result = self._call_with_retry(lambda: operation(client), retry_seconds, stop)
        except StoreUnavailableError:
            raise
        except IndexerError:
            if not self._checked:  # perhaps not Qdrant, or an unsupported version
                self._check_server(client, retry_seconds, stop)
            raise
        self._met = True
        return result

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        with self._lock:
            client, self._client = self._client, None
            self._met = self._checked = False
        if client is not None:
            client.close()

    def _ensure_client(self) -> QdrantClient:
        with self._lock:
            if self._client is None:
                self._client = make_client(self.connection)
            return self._client

    def _check_server(
        self, client: QdrantClient, retry_seconds: float, stop: threading.Event | None
    ) -> None:
        """Check once that it is Qdrant, of a version that this client supports."""
        title, server_version = self._call_with_retry(
            lambda: self._get_version(client), retry_seconds, stop
        )
        if "qdrant" not in title.lower():
            raise not_qdrant_error(self.connection, f"it calls itself {title[:60]!r}")
        _check_version(server_version, self.connection)
        self._met = self._checked = True

    def _get_version(self, client: QdrantClient) -> tuple[str, str]:
        from pydantic import ValidationError
        from qdrant_client.http.exceptions import ResponseHandlingException

        try:
            info = client.info()
        except json.JSONDecodeError:
            raise not_qdrant_error(self.connection, "its response is not JSON") from None
        except ResponseHandlingException as error:
            if isinstance(error.source, ValidationError):
                raise not_qdrant_error(self.connection, "its response has no version") from None
            raise
        except Exception as error:
            if find_transient_error(error) is None and get_status(error) not in (None, 401, 403):
                raise not_qdrant_error(self.connection, f"status {get_status(error)}") from None
            raise
        return info.title, info.version

    def _call_with_retry(
        self, operation: Callable[[], T], retry_seconds: float, stop: threading.Event | None
    ) -> T:
        def on_wait(fault: TransientError, waited: float) -> None:
            self._log_retry(fault, waited, retry_seconds)

        try:
            result = call_with_retry(operation, retry_seconds, self._clock, on_wait, stop)
        except RetryTimeoutError as timeout:
            self._waiting = False
            raise unavailable_error(self.connection, timeout) from timeout
        except IndexerError:
            raise
        except Exception as error:
            raise describe_error(error, self.connection) from error
        with self._lock:
            waiting, self._waiting = self._waiting, False
            self._answered = self._clock.now() if waiting else self._answered
        if waiting:
            log.warning("%s answers again", format_location(self.connection))
        return result

    def _log_retry(self, fault: TransientError, waited: float, retry_seconds: float) -> None:
        """Log once per outage, however many calls are waiting."""
        began = self._clock.now() - waited
        if waited < LOG_AFTER_SECONDS or began <= self._answered:
            return
        with self._lock:
            before, self._waiting = self._waiting, True
        if not before:
            log.warning(
                "waiting for %s: %s (at most %.0f s; Ctrl-C stops)",
                format_location(self.connection),
                fault.message,
                retry_seconds,
            )


def _check_version(server_version: str, connection: Connection) -> None:
    """Client and server are compatible if their minor versions differ by at most one."""
    ours, theirs = _parse_version(version("qdrant-client")), _parse_version(server_version)
    if theirs is None:
        raise not_qdrant_error(connection, f"version {server_version[:60]!r}")
    if ours is None or (ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1):
        return
    raise StoreError(
        f"Qdrant at {format_location(connection)} is version {server_version}, and this program's "
        f"client is "
        f"{ours[0]}.{ours[1]}: install a server {ours[0]}.{ours[1]} (image "
        f"qdrant/qdrant:v{ours[0]}.{ours[1]}.0), or here: pip install "
        f"'qdrant-client=={theirs[0]}.{theirs[1]}.*'"
    )


def _parse_version(text: str) -> tuple[int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
