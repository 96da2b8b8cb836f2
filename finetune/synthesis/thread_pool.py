"""Several requests at once: threads that take the next job when they have done one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerThreads(Generic[Job, Result]):
    """Does `jobs` with `work` in `size` threads. Nothing is taken ahead of time, so that a `jobs`
    that ends early leaves only what is under way. The threads end with the process."""

    def __init__(
        self, jobs: Iterator[Job], work: Callable[[Job], Result], num_threads: int
    ) -> None:
        self._jobs, self._work, self._size = jobs, work, num_threads
        self._lock = threading.Lock()
        self._results: SimpleQueue[tuple[Result | None, BaseException | None, bool]] = SimpleQueue()

    def __iter__(self) -> Iterator[Result | Exception]:
        """What `work` gave, or what it raised, as each comes; raises what `jobs` raised."""
        for number in range(self._size):
            threading.Thread(target=self._run, name=f"crew-{number}", daemon=True).start()
        running = self._size
        while running:
            result, error, ended = self._results.get()
            running -= ended
            if ended and error is not None:
                raise error
            if not ended:
                yield error if isinstance(error, Exception) else result  # type: ignore[misc]

    def _run(self) -> None:
        while True:
            try:
                with self._lock:
                    job = next(self._jobs)
            except StopIteration:
                self._results.put((None, None, True))
                return
            except BaseException as error:
                self._results.put((None, error, True))
                return
            try:
                self._results.put((self._work(job), None, False))
            except Exception as error:
                self._results.put((None, error, False))
