"""Tries again, ever more rarely, until patience is at an end."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from indexer.stores.qdrant.errors import TransientError, find_transient_error

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0  # seconds; doubled from one to the other
SLEEP_SLICE = 0.2  # seconds of sleep after which a stop is heard


@dataclass(frozen=True, slots=True)
class Clock:
    """The time and the waiting, which tests replace."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class RetryTimeoutError(Exception):
    """Patience is at an end, or the work was stopped."""

    def __init__(self, fault: TransientError, waited: float) -> None:
        super().__init__(fault.message)
        self.fault, self.waited = fault, waited


def call_with_retry(
    operation: Callable[[], T],
    retry_seconds: float,
    clock: Clock,
    on_wait: Callable[[TransientError, float], None] = lambda *_: None,
    stop: threading.Event | None = None,
) -> T:
    """What `operation` gives once it succeeds; it must do no harm when it runs twice.

    After a fault it is tried again for `patience` seconds; `on_wait` hears of each fault and of the
    seconds since the first. Raises `GaveUpError`, and what is no fault as it came.
    """
    first: float | None = None
    pause = FIRST_PAUSE
    while True:
        try:
            return operation()
        except Exception as error:
            fault = find_transient_error(error)
            if fault is None:
                raise
            now = clock.now()
            first = now if first is None else first
            left = first + retry_seconds - now
            if left <= 0 or (stop is not None and stop.is_set()):
                raise RetryTimeoutError(fault, now - first) from error
        on_wait(fault, now - first)
        # whoever waits for the same server should not all come back at the same moment
        wanted = max(pause * random.uniform(0.5, 1.0), fault.retry_after or 0.0)
        _sleep(min(wanted, left), clock, stop)
        pause = min(2 * pause, LONGEST_PAUSE)


def _sleep(seconds: float, clock: Clock, stop: threading.Event | None) -> None:
    end = clock.now() + seconds
    while (left := end - clock.now()) > 0 and not (stop is not None and stop.is_set()):
        clock.sleep(min(left, SLEEP_SLICE))
