"""Retries a call to a server with exponential backoff, up to a time limit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from indexer.stores.qdrant.errors import (
    RetryTimeoutError,
    TransientError,
    find_transient_error,
)

T = TypeVar("T")
PAUSES = wait_exponential(multiplier=0.25, max=10.0)  # seconds; doubled each time
SLEEP_SLICE = 0.2  # seconds between checks for a stop


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and sleep; tests replace them."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


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
