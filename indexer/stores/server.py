"""One Qdrant server as this process sees it: one client, one way to call it, one set of errors."""

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

from indexer.errors import IndexerError, StoreError
from indexer.stores.client import client_of
from indexer.stores.connection import Connection
from indexer.stores.explain import away, explained, no_qdrant, where
from indexer.stores.faults import Fault, fault_of, status_of
from indexer.stores.retry import Clock, GaveUpError, repeated

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")
FIRST_CONTACT = 10.0  # seconds to wait for a server never seen: its address may be mistyped
TELL_AFTER = 1.0  # seconds of waiting that nobody need hear of
log = logging.getLogger(__name__)


@cache
def server_of(connection: Connection) -> Server:
    """The process's one server at `connection`."""
    server = Server(connection)
    atexit.register(server.close)  # gRPC complains of channels that only the end closes
    return server


class Server:
    """A Qdrant server. Thread-safe, and without a lock around calls: several may be under way."""

    def __init__(self, connection: Connection, clock: Clock | None = None) -> None:
        self.connection = connection
        self._clock = clock or Clock()
        self._client: QdrantClient | None = None
        self._met = False
        self._waiting = False  # and the user has been told
        self._answered = float("-inf")  # when an outage was told to be over
        self._lock = threading.Lock()

    @property
    def streams(self) -> int:
        return self.connection.streams

    @property
    def timeout(self) -> float:
        return self.connection.timeout

    @property
    def grpc(self) -> bool:
        return self.connection.grpc_port is not None

    def call(
        self,
        operation: Callable[[QdrantClient], T],
        *,
        patience: float | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """What `operation` gives; it is tried again while the server is away or busy, so it must
        do no harm when it runs twice.

        `patience` is in seconds from the first failure (default: the connection's); `stop` ends the
        waiting. Raises `StoreAwayError` when patience is at an end, `StoreError` at once for what
        will not pass.
        """
        patient = self.connection.patience if patience is None else patience
        client = self._opened()
        if not self._met:
            self._meet(client, min(patient, FIRST_CONTACT), stop)
        return self._repeated(lambda: operation(client), patient, stop)

    def close(self) -> None:
        """End the connections; another call opens them anew."""
        with self._lock:
            client, self._client, self._met = self._client, None, False
        if client is not None:
            client.close()

    def _opened(self) -> QdrantClient:
        with self._lock:
            if self._client is None:
                self._client = client_of(self.connection)
            return self._client

    def _meet(self, client: QdrantClient, patience: float, stop: threading.Event | None) -> None:
        """Once: is it a Qdrant, and of a version that this client can talk to?"""
        title, found = self._repeated(lambda: self._greeted(client), patience, stop)
        if "qdrant" not in title.lower():
            raise no_qdrant(self.connection, f"it calls itself {title[:60]!r}")
        _require_version(found, self.connection)
        self._met = True

    def _greeted(self, client: QdrantClient) -> tuple[str, str]:
        from pydantic import ValidationError
        from qdrant_client.http.exceptions import ResponseHandlingException

        try:
            found = client.info()
        except json.JSONDecodeError:
            raise no_qdrant(self.connection, "its answer is no JSON") from None
        except ResponseHandlingException as error:
            if isinstance(error.source, ValidationError):
                raise no_qdrant(self.connection, "it does not tell its version") from None
            raise
        except Exception as error:
            if fault_of(error) is None and status_of(error) not in (None, 401, 403):
                raise no_qdrant(self.connection, f"status {status_of(error)}") from None
            raise
        return found.title, found.version

    def _repeated(
        self, operation: Callable[[], T], patience: float, stop: threading.Event | None
    ) -> T:
        def told(fault: Fault, waited: float) -> None:
            self._tell(fault, waited, patience)

        try:
            result = repeated(operation, patience, self._clock, told, stop)
        except GaveUpError as gave_up:
            self._waiting = False
            raise away(self.connection, gave_up) from gave_up
        except IndexerError:
            raise
        except Exception as error:
            raise explained(error, self.connection) from error
        with self._lock:
            waiting, self._waiting = self._waiting, False
            self._answered = self._clock.now() if waiting else self._answered
        if waiting:
            log.warning("%s answers again", where(self.connection))
        return result

    def _tell(self, fault: Fault, waited: float, patience: float) -> None:
        """Once an outage, however many calls are waiting, and whichever is through first."""
        began = self._clock.now() - waited
        if waited < TELL_AFTER or began <= self._answered:
            return
        with self._lock:
            before, self._waiting = self._waiting, True
        if not before:
            log.warning(
                "waiting for %s: %s (at most %.0f s; Ctrl-C stops)",
                where(self.connection),
                fault.what,
                patience,
            )


def _require_version(found: str, connection: Connection) -> None:
    """Client and server talk when their minor versions are the same, or neighbours."""
    ours, theirs = _numbers(version("qdrant-client")), _numbers(found)
    if theirs is None:
        raise no_qdrant(connection, f"version {found[:60]!r}")
    if ours is None or (ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1):
        return
    raise StoreError(
        f"Qdrant at {where(connection)} is version {found}, and this program's client is "
        f"{ours[0]}.{ours[1]}: install a server {ours[0]}.{ours[1]} (image "
        f"qdrant/qdrant:v{ours[0]}.{ours[1]}.0), or here: pip install "
        f"'qdrant-client=={theirs[0]}.{theirs[1]}.*'"
    )


def _numbers(text: str) -> tuple[int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
