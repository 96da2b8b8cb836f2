"""Caches that all sessions of the app share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import wraps
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedCache(Generic[T]):
    """Makes each value once, however many threads ask for it at the same time.

    A key has one value: to ask for another version of it replaces the value. Beyond `maxsize` keys,
    the one that was not used for the longest time is dropped. A value that was dropped lives as
    long as somebody uses it; errors are raised to all who wait, and not kept.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize, self._lock = maxsize, threading.Lock()
        self._entries: dict[Hashable, tuple[Hashable, Future[T]]] = {}  # the latest used is last

    def get(self, key: Hashable, make: Callable[[], T], version: Hashable = None) -> T:
        """Return the value of `key`, which `make` makes where it is missing or of another version.

        Raises what `make` raises.
        """
        with self._lock:
            found = self._entries.pop(key, None)
            entry = found if found and found[0] == version else (version, Future[T]())
            self._entries[key] = entry
            while len(self._entries) > self._maxsize:
                self._entries.pop(next(iter(self._entries)))
        future = entry[1]
        if entry is not found:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    if self._entries.get(key) is entry:
                        del self._entries[key]
                future.set_exception(error)
        return future.result()

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()


def cache_by_file(maxsize: int) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Cache what a function makes of a file, its first argument, until the file changes."""

    def decorate(read: Callable[..., T]) -> Callable[..., T]:
        cache: SharedCache[T] = SharedCache(maxsize)

        @wraps(read)
        def read_cached(path: Path, *args: Any) -> T:
            try:
                status = path.stat()
                version = status.st_mtime_ns, status.st_size
            except OSError:
                version = 0, 0
            return cache.get((path, *args), lambda: read(path, *args), version)

        return read_cached

    return decorate
