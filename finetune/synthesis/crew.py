"""Several requests at once: threads that take the next job when they have done one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")


class Crew(Generic[Job, Done]):
    """Does `jobs` with `work` in `size` threads. Nothing is taken ahead of time, so that a `jobs`
    that ends early leaves only what is under way. The threads end with the process."""

    def __init__(self, jobs: Iterator[Job], work: Callable[[Job], Done], size: int) -> None:
        self._jobs, self._work, self._size = jobs, work, size
        self._lock = threading.Lock()
        self._done: SimpleQueue[tuple[Done | None, BaseException | None, bool]] = SimpleQueue()

    def __iter__(self) -> Iterator[Done | Exception]:
        """What `work` gave, or what it raised, as each comes; raises what `jobs` raised."""
        for number in range(self._size):
            threading.Thread(target=self._run, name=f"crew-{number}", daemon=True).start()
        left = self._size
        while left:
            done, error, ended = self._done.get()
            left -= ended
            if ended and error is not None:
                raise error
            if not ended:
                yield error if isinstance(error, Exception) else done  # type: ignore[misc]

    def _run(self) -> None:
        while True:
            try:
                with self._lock:
                    job = next(self._jobs)
            except StopIteration:
                self._done.put((None, None, True))
                return
            except BaseException as error:
                self._done.put((None, error, True))
                return
            try:
                self._done.put((self._work(job), None, False))
            except Exception as error:
                self._done.put((None, error, False))
