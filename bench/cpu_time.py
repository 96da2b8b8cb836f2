"""Seconds of CPU: of this process, its children that have ended, and a shard server."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import psutil

from indexer.stores.edge.state import SERVER_FILE


def cpu_seconds(server: psutil.Process | None = None) -> float:
    """User and system time so far, in all threads; with the shard server's where one is given."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    if server is not None:
        times = server.cpu_times()
        total += times.user + times.system
    return total


def find_shard_server(collection: Path) -> psutil.Process:
    """The live process that keeps the collection in `collection`."""
    pid = json.loads((collection / SERVER_FILE).read_text("utf-8"))["pid"]
    return psutil.Process(pid)
