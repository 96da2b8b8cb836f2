"""Tells a server process that works for long from one that hangs. Standard library only.

The Rust engine holds Python's global lock for seconds at a time, so the process cannot answer a
ping while it works. What tells is the system: a process that works uses the processor.
"""

from __future__ import annotations

import math
import subprocess
import time
from pathlib import Path

from indexer.errors import StoreUnavailableError

STALL_TIMEOUT = 60.0  # seconds without an answer in which the process did nothing at all
STOPPED_TIMEOUT = 10.0  # the same for a process that is stopped
REQUEST_TIMEOUT = 900.0  # seconds for any request
STATES = {
    "T": "it is stopped",
    "t": "it is stopped by a debugger",
    "D": "it waits for the disk",
    "U": "it waits for the disk",
}


class Watch:
    """Follows the server process `pid` of the shard in `path` while a client waits for it."""

    def __init__(self, path: Path, pid: int, stall_timeout: float = STALL_TIMEOUT) -> None:
        self.path, self.pid, self._stall_timeout = path, pid, stall_timeout
        self._usage: tuple[str, str] | None = None
        self.start("the connection", time.monotonic())

    def start(self, request: str, since: float) -> None:
        """A client waits for `request` since the time `since` (monotonic)."""
        self._request, self._since, self._progress = request, since, since

    def check(self) -> None:
        """Raise `StoreUnavailableError` if the process hangs."""
        now, usage = time.monotonic(), read_usage(self.pid)
        if usage is not None and (usage[0] == "R" or usage != self._usage):
            self._usage, self._progress = usage, now
        state = usage[0] if usage else ""
        limit = min(self._stall_timeout, STOPPED_TIMEOUT if state in ("T", "t") else math.inf)
        if usage is not None and now - self._progress > limit:
            raise self._error(now - self._progress, STATES.get(state, "it uses no processor time"))
        if now - self._since > REQUEST_TIMEOUT:
            raise self._error(now - self._since, STATES.get(state, "it is still running"))

    def _error(self, seconds: float, state: str) -> StoreUnavailableError:
        resume = f"continue it (kill -CONT {self.pid})" if "stopped" in state else "wait for it"
        return StoreUnavailableError(
            f"process {self.pid}, which serves {self.path}, has not answered for {seconds:.0f} s "
            f"(request: {self._request}); {state}. Either {resume}, or end it (kill -9 "
            f"{self.pid}): nothing that was saved is lost. Then run the command again"
        )


def read_usage(pid: int) -> tuple[str, str] | None:
    """The state of a process (a letter, as `ps` shows it) and the processor time that it has used;
    None if it is not known."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return fields[0], f"{fields[11]} {fields[12]}"
    command = ["ps", "-o", "state=,time=", "-p", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        state, used = done.stdout.split()
    except (OSError, ValueError):
        return None
    return state[0], used
