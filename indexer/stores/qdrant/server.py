"""One Qdrant server: its client; retries with exponential backoff, up to a time limit; errors."""

from __future__ import annotations

import atexit
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from embedder.client.deadline import DeadlineError
from embedder.extras import format_pip_install
from indexer.errors import IndexerError, StoreError, StoreUnavailableError
from indexer.stores.qdrant.client import Connection, make_client
from indexer.stores.qdrant.cluster import describe_lost_nodes
from indexer.stores.qdrant.errors import (
    TIMED_OUT,
    RetryTimeoutError,
    TransientError,
    describe_error,
    find_transient_error,
    format_location,
    get_status,
    not_qdrant_error,
    unavailable_error,
)

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

T = TypeVar("T")
FIRST_CONTACT_SECONDS = 10.0  # seconds to wait for a server never seen: its address may be mistyped
LOG_AFTER_SECONDS = 1.0  # seconds of waiting that are not logged
PAUSES = wait_exponential(multiplier=0.25, max=10.0)  # seconds; doubled each time
DEADLINE_FACTOR = 1.05  # a read that fails by itself says more than one that is given up
CLUSTER_SECONDS = 2.0  # seconds to ask for the state of the cluster
SLEEP_SLICE = 0.2  # seconds between checks for a stop
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and sleep; tests replace them."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


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
        self._fault: TransientError | None = None  # the last one of an outage that goes on
        self._waiting = False  # an outage has been logged
        self._answered = float("-inf")  # when the end of the last outage was logged
        self._lock = threading.Lock()

    def call(
        self,
        operation: Callable[[QdrantClient], T],
        *,
        stop: threading.Event | None = None,
        is_read: bool = False,
    ) -> T:
        """Run `operation`, with retries while the server is away or busy; it must be idempotent.

        The server's version is checked before the first call that writes; for reads (`is_read`)
        only after one has failed. `stop` ends the waiting.

        Raises `StoreUnavailableError` when the connection's `retry_seconds` since the first failure
        are over, `StoreError` at once for an error that is not transient. A read ends soon after
        its `timeout` or its `retry_seconds`, whichever is longer, even if a response drips in.
        """
        if not is_read:
            return self._call(operation, stop, is_read=False)
        connection = self.connection
        seconds = max(connection.timeout, connection.retry_seconds) * DEADLINE_FACTOR
        try:
            return call_in_time(lambda stop: self._call(operation, stop, is_read=True), seconds)
        except DeadlineError:
            timeout = RetryTimeoutError(self._fault or TransientError(TIMED_OUT), seconds)
            raise unavailable_error(connection, timeout) from None

    def _call(
        self,
        operation: Callable[[QdrantClient], T],
        stop: threading.Event | None,
        *,
        is_read: bool,
    ) -> T:
        retry_seconds = self.connection.retry_seconds
        with self._lock:
            client = self._client = self._client or make_client(self.connection)
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

    def find_lost_nodes(self, message: str = "") -> str:
        """Say which nodes of the server's cluster do not answer; "" if all do, or if the server
        does not say in time."""
        client = self._client
        if client is None:
            return ""
        try:
            return call_in_time(lambda _: describe_lost_nodes(client, message), CLUSTER_SECONDS)
        except Exception:  # this must not hide the error that it explains
            return ""

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        with self._lock:
            client, self._client = self._client, None
            self._met = self._checked = False
        if client is not None:
            client.close()

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
        on_wait = partial(self._log_retry, retry_seconds)
        try:
            result = call_with_retry(operation, retry_seconds, self._clock, on_wait, stop)
        except RetryTimeoutError as timeout:
            self._waiting = False
            fault = timeout.fault
            lost_nodes = self.find_lost_nodes(fault.message) if fault.is_response else ""
            raise unavailable_error(self.connection, timeout, lost_nodes) from timeout
        except IndexerError:
            raise
        except Exception as error:
            raise describe_error(error, self.connection) from error
        with self._lock:
            waiting, self._waiting, self._fault = self._waiting, False, None
            self._answered = self._clock.now() if waiting else self._answered
        if waiting:
            log.warning("%s answers again", format_location(self.connection))
        return result

    def _log_retry(self, retry_seconds: float, fault: TransientError, waited: float) -> None:
        """Keep the fault; log once per outage, however many calls are waiting."""
        self._fault = fault
        began = self._clock.now() - waited
        if waited < LOG_AFTER_SECONDS or began <= self._answered:
            return
        with self._lock:
            before, self._waiting = self._waiting, True
        if not before:
            lost_nodes = self.find_lost_nodes(fault.message) if fault.is_response else ""
            log.warning(
                "waiting for %s: %s (at most %.0f s; Ctrl-C stops)",
                format_location(self.connection),
                lost_nodes or fault.message,
                retry_seconds,
            )


def call_in_time(operation: Callable[[threading.Event], T], seconds: float) -> T:
    """Return the result of `operation`, called in another thread.

    httpx has no limit for a whole response, only for each part of it. A thread that is late is left
    behind; the event that it was given is set, so that it does not try again.

    Raises:
        DeadlineError: It took longer than `seconds`. Its own errors are raised unchanged.
    """
    future: Future[T] = Future()
    stop = threading.Event()

    def run() -> None:
        try:
            future.set_result(operation(stop))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="qdrant-read", daemon=True).start()
    try:
        if not wait([future], seconds).done:
            raise DeadlineError
        return future.result()
    finally:
        stop.set()


def call_with_retry(
    operation: Callable[[], T],
    retry_seconds: float,
    clock: Clock,
    on_wait: Callable[[TransientError, float], None] = lambda *_: None,
    stop: threading.Event | None = None,
) -> T:
    """Call `operation` until it succeeds, and return its result; it must be idempotent.

    Args:
        operation: The call.
        retry_seconds: How long to retry after the first failure; with a last try at the end.
        clock: Time and sleep.
        on_wait: Called with each transient error and the seconds since the first.
        stop: Ends the waiting when it is set.

    Raises:
        RetryTimeoutError: The last error was transient too. Other errors are raised unchanged.
    """
    first: float | None = None

    def get_fault(state: RetryCallState) -> TransientError:
        error = state.outcome.exception() if state.outcome else None
        fault = find_transient_error(error) if isinstance(error, Exception) else None
        return fault or TransientError("it failed")

    def measure_wait() -> float:
        """Seconds since the first failure."""
        nonlocal first
        first = clock.now() if first is None else first
        return clock.now() - first

    def is_stopped() -> bool:
        return stop is not None and stop.is_set()

    def compute_pause(state: RetryCallState) -> float:
        # clients that wait for the same server should not all return at the same moment
        pause = PAUSES(state) * random.uniform(0.5, 1.0)
        left = retry_seconds - measure_wait()
        return max(0.0, min(max(pause, get_fault(state).retry_after or 0.0), left))

    def give_up(state: RetryCallState) -> T:
        error = state.outcome.exception() if state.outcome else None
        raise RetryTimeoutError(get_fault(state), measure_wait()) from error

    def sleep(seconds: float) -> None:
        end = clock.now() + seconds
        while (left := end - clock.now()) > 0 and not is_stopped():
            clock.sleep(min(left, SLEEP_SLICE))

    return Retrying(
        retry=retry_if_exception(
            lambda e: isinstance(e, Exception) and find_transient_error(e) is not None
        ),
        stop=lambda _: measure_wait() >= retry_seconds or is_stopped(),
        wait=compute_pause,
        sleep=sleep,
        before_sleep=lambda state: on_wait(get_fault(state), measure_wait()),
        retry_error_callback=give_up,
    )(operation)


def _check_version(server_version: str, connection: Connection) -> None:
    """Client and server are compatible if their minor versions differ by at most one."""
    ours, theirs = _parse_version(version("qdrant-client")), _parse_version(server_version)
    if theirs is None:
        raise not_qdrant_error(connection, f"version {server_version[:60]!r}")
    if ours is None or (ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1):
        return
    raise StoreError(
        f"Qdrant at {format_location(connection)} is version {server_version}, and this program's "
        f"client is {ours[0]}.{ours[1]}: install a server of version {ours[0]}.{ours[1]} or "
        f"{ours[0]}.{ours[1] - 1}, or here: "
        + format_pip_install(f"qdrant-client=={theirs[0]}.{theirs[1]}.*")
    )


def _parse_version(text: str) -> tuple[int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
