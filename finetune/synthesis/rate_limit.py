"""When the next request may be made: so many a minute, and not before a server allows it."""

from __future__ import annotations

import threading
import time

from finetune.synthesis.llm import RunStoppedError


class RateLimiter:
    """Thread-safe. `per_minute` 0: as many as there are; `stop` ends all waiting."""

    def __init__(self, requests_per_minute: float = 0, stop: threading.Event | None = None) -> None:
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0  # seconds
        self._stop = stop or threading.Event()
        self._next_time = 0.0  # time.monotonic() of the next request
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Until a request may be made; raises `HaltedError` where the run is stopped."""
        with self._lock:
            now = time.monotonic()
            start_time = max(now, self._next_time)
            self._next_time = start_time + self._interval
        self.sleep(start_time - now)

    def block_for(self, seconds: float) -> None:
        """No request of anybody for so long: a server asked for it."""
        with self._lock:
            self._next_time = max(self._next_time, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Raises `HaltedError` where the run is stopped."""
        if self._stop.wait(max(seconds, 0.0)):
            raise RunStoppedError("the run was stopped")
