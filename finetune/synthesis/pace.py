"""When the next request may be made: so many a minute, and not before a server allows it."""

from __future__ import annotations

import threading
import time

from finetune.synthesis.writers import HaltedError


class Pace:
    """Thread-safe. `per_minute` 0: as many as there are; `stop` ends all waiting."""

    def __init__(self, per_minute: float = 0, stop: threading.Event | None = None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0  # seconds
        self._stop = stop or threading.Event()
        self._next = 0.0  # time.monotonic() of the next request
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Until a request may be made; raises `HaltedError` where the run is stopped."""
        with self._lock:
            now = time.monotonic()
            mine = max(now, self._next)
            self._next = mine + self._gap
        self.sleep(mine - now)

    def hold(self, seconds: float) -> None:
        """No request of anybody for so long: a server asked for it."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> None:
        """Raises `HaltedError` where the run is stopped."""
        if self._stop.wait(max(seconds, 0.0)):
            raise HaltedError("the run was stopped")
