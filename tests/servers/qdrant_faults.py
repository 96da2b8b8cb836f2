"""Faults that a test orders in advance, and counts of what was asked."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

KINDS = (
    "429",  # busy, with Retry-After
    "408",
    "503",
    "500",
    "reset-before",  # the connection breaks, and nothing was done
    "reset-after",  # it was done, and the answer is lost
    "unapplied",  # taken, and not done within the time of the request: UpdateStatus.WAIT_TIMEOUT
    "slow",  # answers after `delay` seconds
    "half",  # done, and half the answer comes
    "malformed",  # done, and the answer is no JSON (no message, over gRPC)
)


@dataclass(slots=True)
class Fault:
    kind: str
    path: str
    left: int
    delay: float  # seconds
    retry_after: int  # seconds


class Faults:
    """What goes wrong, for HTTP and gRPC alike. Thread-safe.

    A request is known by a text: `upsert PUT /collections/c/points` over HTTP, and
    `upsert /qdrant.Points/Upsert c` over gRPC. `path` is a part of it in any case of letters; the
    operation, its first word, is the same over both.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Order nothing more, and count from zero."""
        with self._lock:
            self._queue: list[Fault] = []
            self.seen: Counter[str] = Counter()  # requests by their text
            self._deadly: tuple[int, str] | None = None
            self.gone = self.hung = False

    def next(
        self,
        count: int,
        kind: int | str,
        path: str = "",
        *,
        delay: float = 0.2,
        retry_after: int = 1,
    ) -> None:
        """The next `count` requests whose text contains `path` fail so."""
        if str(kind) not in KINDS:
            raise ValueError(f"{kind!r} is no fault; there are {', '.join(KINDS)}")
        with self._lock:
            self._queue.append(Fault(str(kind), path.lower(), count, delay, retry_after))

    def die_after(self, count: int, path: str = "") -> None:
        """The server goes away once `count` writes that contain `path` have been answered."""
        with self._lock:
            self._deadly = (count, path.lower())

    def hang(self) -> None:
        """From now on accept connections and requests, and answer none before `resume`."""
        self.hung = True

    def resume(self) -> None:
        """Answer again, what has waited first."""
        self.hung = False

    def count(self, path: str = "") -> int:
        """How many requests have come whose text contains `path`, failed ones included."""
        with self._lock:
            return sum(n for text, n in self.seen.items() if path.lower() in text.lower())

    def take(self, text: str) -> Fault | None:
        """Count a request; the fault that it meets."""
        with self._lock:
            self.seen[text] += 1
            for fault in self._queue:
                if fault.left and fault.path in text.lower():
                    fault.left -= 1
                    return fault
        return None

    def written(self, text: str) -> bool:
        """Count an applied write; true if it was the last one."""
        with self._lock:
            if self._deadly is None or self._deadly[1] not in text.lower():
                return False
            left, path = self._deadly[0] - 1, self._deadly[1]
            self._deadly = (left, path) if left > 0 else None
            self.gone = left <= 0
            return self.gone
