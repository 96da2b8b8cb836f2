"""A shared cache makes each value once, and holds no more than it must."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.caching import SharedCache, cache_by_file


class Value:
    """Something that can be referred to weakly."""


def test_four_threads_that_ask_at_once_get_one_value():
    cache, started, made = SharedCache(2), threading.Barrier(4), []

    def make() -> Value:
        made.append(Value())
        threading.Event().wait(0.05)  # the others arrive meanwhile
        return made[-1]

    def ask(_: int) -> Value:
        started.wait()
        return cache.get("key", make)

    with ThreadPoolExecutor(4) as pool:
        values = set(pool.map(ask, range(4)))
    assert len(made) == len(values) == 1


def test_an_error_is_raised_and_not_kept():
    cache = SharedCache(2)

    def fail() -> int:
        raise OSError("no disk")

    for _ in range(2):
        with pytest.raises(OSError, match="no disk"):
            cache.get("key", fail)
    assert cache.get("key", lambda: 1) == 1
    assert cache.get("key", fail) == 1


def test_another_version_replaces_the_value():
    cache = SharedCache(2)
    assert cache.get("key", lambda: "old", version=1) == "old"
    assert cache.get("key", lambda: "new", version=2) == "new"
    assert cache.get("key", lambda: "old", version=2) == "new"


def test_what_was_not_used_for_the_longest_time_is_dropped_and_freed():
    cache = SharedCache(2)
    for key in "ab":
        cache.get(key, Value)
    dropped, kept = (weakref.ref(cache.get(key, Value)) for key in "ba")
    cache.get("c", Value)
    gc.collect()
    assert dropped() is None
    assert kept() is cache.get("a", Value)


def test_a_file_is_read_again_when_it_has_changed(tmp_path):
    read = []

    @cache_by_file(maxsize=2)
    def count_bytes(path) -> int:
        read.append(path)
        return path.stat().st_size if path.exists() else 0

    file = tmp_path / "x"
    assert [count_bytes(file), count_bytes(file)] == [0, 0]
    file.write_text("four")
    assert [count_bytes(file), count_bytes(file)] == [4, 4]
    assert len(read) == 2
