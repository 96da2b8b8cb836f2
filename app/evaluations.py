"""An evaluation that was started from the app: one at a time, in a process of its own."""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.resources import settings
from app.runs import Run
from indexer.errors import IndexerError

PATIENCE = 10  # seconds between asking a process to end and ending it


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to know: how good `after` is on `pairs`, beside `before` if given."""

    after: str
    before: str | None
    pairs: Path
    reverse: bool = False
    limit: int | None = None


class Job:
    """One `finetune compare` or `finetune evaluate`: where it stands, and what came of it."""

    def __init__(self, run: Run, wish: Wish) -> None:
        self.run, self.wish = run, wish
        self.out = _free(run.folder / "evaluation", wish)
        self.began = time.monotonic()
        self.ended: float | None = None
        self.stopped = False
        self.told: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(
            command(wish, self.out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._listen, name="evaluation", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began

    @property
    def line(self) -> str:
        """What it said last."""
        return self.told[-1] if self.told else ""

    @property
    def share(self) -> float:
        """How far it is with what it said last, 0..1."""
        match = re.search(r"(\d+) of (\d+)", self.line)
        return min(1.0, int(match[1]) / max(1, int(match[2]))) if match else 0.0

    @property
    def error(self) -> str:
        """What it said when it failed; empty where it did not."""
        if self.running or self.stopped or not self._process.returncode:
            return ""
        said = next((line for line in reversed(self.told) if line.startswith("error: ")), self.line)
        return said.removeprefix("error: ") or f"it ended with {self._process.returncode}"

    def stop(self) -> None:
        self.stopped = True
        self.send(signal.SIGTERM)
        timer = threading.Timer(PATIENCE, self.send, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def send(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.strip():
                self.told.append(line.strip())
        self._process.wait()
        self.ended = time.monotonic()


def command(wish: Wish, out: Path) -> list[str]:
    """The command line; names stand behind `--`, so that none is taken for an option."""
    ours = settings()
    given = {"--limit": wish.limit, "--device": ours.device, "--dtype": ours.dtype}
    options = [f"{name}={value}" for name, value in given.items() if value]
    options += ["--reverse"] if wish.reverse else []
    options += ["--trust-remote-code"] if ours.trust_remote_code else []
    program = [sys.executable, "-m", "finetune"]
    if wish.before is None:
        after = f"--model={wish.after}"
        return [*program, "evaluate", f"--out={out}", after, *options, "--", str(wish.pairs)]
    names = [wish.before, wish.after, str(wish.pairs)]
    return [*program, "compare", f"--out={out}", *options, "--", *names]


_jobs: list[Job] = []
_lock = threading.Lock()


def start(run: Run, wish: Wish) -> Job:
    """Begin an evaluation; raises `IndexerError` where one is under way, or it cannot begin."""
    with _lock:
        if _jobs and _jobs[-1].running:
            raise IndexerError(f"{_jobs[-1].run.name} is being evaluated; wait for it, or stop it")
        try:
            _jobs[:] = [Job(run, wish)]
        except OSError as error:
            raise IndexerError(f"the evaluation cannot begin: {error}") from error
        return _jobs[-1]


def latest() -> Job | None:
    """The evaluation that is under way, or the last one."""
    return _jobs[-1] if _jobs else None


def _free(folder: Path, wish: Wish) -> Path:
    """A folder for the result that is not there yet, called by the pairs and the other model."""
    names = [wish.pairs.stem, Path(wish.before).name if wish.before else ""]
    name = "-beside-".join(re.sub(r"[^\w.-]+", "-", part) for part in names if part)
    tries = (folder / (f"{name}-{n}" if n > 1 else name) for n in range(1, 10_000))
    return next(path for path in tries if not path.exists())


@atexit.register
def _end() -> None:
    """No evaluation outlives the app."""
    for job in _jobs:
        job.send(signal.SIGTERM)
