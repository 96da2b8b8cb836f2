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

from app.runs import Run
from app.services import get_settings
from indexer.errors import IndexerError

STOP_TIMEOUT = 10  # seconds between asking a process to end and ending it


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What somebody wants to know: how good `after` is on `pairs`, beside `before` if given."""

    after: str
    before: str | None
    pairs: Path
    reverse: bool = False
    limit: int | None = None


class EvaluationJob:
    """One `finetune compare` or `finetune evaluate`: where it stands, and what came of it."""

    def __init__(self, run: Run, request: EvaluationRequest) -> None:
        self.run, self.request = run, request
        self.out = _unused_dir(run.folder / "evaluation", request)
        self.started_at = time.monotonic()
        self.ended_at: float | None = None
        self.stopped = False
        self.output: deque[str] = deque(maxlen=20)
        self._process = subprocess.Popen(
            build_command(request, self.out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read_output, name="evaluation", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    @property
    def seconds(self) -> float:
        return (self.ended_at or time.monotonic()) - self.started_at

    @property
    def last_line(self) -> str:
        """What it said last."""
        return self.output[-1] if self.output else ""

    @property
    def fraction_done(self) -> float:
        """How far it is with what it said last, 0..1."""
        match = re.search(r"(\d+) of (\d+)", self.last_line)
        return min(1.0, int(match[1]) / max(1, int(match[2]))) if match else 0.0

    @property
    def error(self) -> str:
        """What it said when it failed; empty where it did not."""
        if self.is_running or self.stopped or not self._process.returncode:
            return ""
        said = next(
            (line for line in reversed(self.output) if line.startswith("error: ")), self.last_line
        )
        return said.removeprefix("error: ") or f"it ended with {self._process.returncode}"

    def stop(self) -> None:
        self.stopped = True
        self.send_signal(signal.SIGTERM)
        timer = threading.Timer(STOP_TIMEOUT, self.send_signal, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _read_output(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.strip():
                self.output.append(line.strip())
        self._process.wait()
        self.ended_at = time.monotonic()


def build_command(request: EvaluationRequest, out: Path) -> list[str]:
    """The command line; names stand behind `--`, so that none is taken for an option."""
    config = get_settings()
    values = {"--limit": request.limit, "--device": config.device, "--dtype": config.dtype}
    options = [f"{name}={value}" for name, value in values.items() if value]
    options += ["--reverse"] if request.reverse else []
    options += ["--trust-remote-code"] if config.trust_remote_code else []
    program = [sys.executable, "-m", "finetune"]
    if request.before is None:
        after = f"--model={request.after}"
        return [*program, "evaluate", f"--out={out}", after, *options, "--", str(request.pairs)]
    names = [request.before, request.after, str(request.pairs)]
    return [*program, "compare", f"--out={out}", *options, "--", *names]


_jobs: list[EvaluationJob] = []
_lock = threading.Lock()


def start_evaluation(run: Run, request: EvaluationRequest) -> EvaluationJob:
    """Begin an evaluation; raises `IndexerError` where one is under way, or it cannot begin."""
    with _lock:
        if _jobs and _jobs[-1].is_running:
            raise IndexerError(f"{_jobs[-1].run.name} is being evaluated; wait for it, or stop it")
        try:
            _jobs[:] = [EvaluationJob(run, request)]
        except OSError as error:
            raise IndexerError(f"the evaluation cannot begin: {error}") from error
        return _jobs[-1]


def latest_evaluation() -> EvaluationJob | None:
    """The evaluation that is under way, or the last one."""
    return _jobs[-1] if _jobs else None


def _unused_dir(folder: Path, request: EvaluationRequest) -> Path:
    """A folder for the result that is not there yet, called by the pairs and the other model."""
    names = [request.pairs.stem, Path(request.before).name if request.before else ""]
    name = "-beside-".join(re.sub(r"[^\w.-]+", "-", part) for part in names if part)
    tries = (folder / (f"{name}-{n}" if n > 1 else name) for n in range(1, 10_000))
    return next(path for path in tries if not path.exists())


@atexit.register
def _stop_at_exit() -> None:
    """No evaluation outlives the app."""
    for job in _jobs:
        job.send_signal(signal.SIGTERM)
