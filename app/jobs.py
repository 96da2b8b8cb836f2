"""Work behind the pages: ingests in threads, evaluations in processes of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from app.permissions import get_permissions
from app.services import get_settings, load_collection_model
from embedder import EmbedderError
from finetune.run_dir import RunInfo
from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import make_lazy_embedder
from indexer.collections.model_hosts import check_model_host
from indexer.errors import IndexerError
from indexer.ingest.pipeline import ingest_with_workers
from indexer.ingest.types import IngestOptions
from indexer.types import IngestProgress, IngestReport

STOP_TIMEOUT = 10  # seconds from asking a process to end until it is killed


class IngestJob:
    """One ingest, its progress and its report. Every session sees the same job."""

    def __init__(self, collection: str, folder: Path, model: str | None, prune: bool) -> None:
        self.collection, self.folder, self.model, self.prune = collection, folder, model, prune
        self.progress: IngestProgress | None = None
        self.report: IngestReport | None = None
        self.error = ""
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ingest-{collection}", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _on_progress(self, progress: IngestProgress) -> None:
        self.progress = progress

    def _run(self) -> None:
        settings = get_settings()
        model = self.model or settings.model
        config = replace(settings, collection=self.collection, model=model)
        roots = get_permissions().roots
        options = IngestOptions.from_config(config, prune=self.prune, within=roots)
        try:
            if self.model:  # a visitor's: a server is one that the settings name
                check_model_host(settings, self.model, with_downloads=False)
            index = open_backend(config).find(self.collection)
            card = make_lazy_embedder(config, index.card if index else None).card
            # before an empty collection is created
            embedder = load_collection_model(self.collection, card)
            with OpenCollection.open_or_create(config, card) as collection:
                self.report = ingest_with_workers(
                    config,
                    [self.folder],
                    collection,
                    embedder,
                    options,
                    self._on_progress,
                    self.stop,
                )
        except (IndexerError, EmbedderError) as error:
            self.error = str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """Evaluate the model `after` on `pairs`, and compare it with `before` if given."""

    after: str
    before: str | None
    pairs: Path
    reverse: bool = False
    limit: int | None = None


class EvaluationJob:
    """One `finetune compare` or `finetune evaluate`, its progress and its outcome."""

    def __init__(self, run: RunInfo, request: EvaluationRequest) -> None:
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
        """The last line of its progress."""
        return self.output[-1] if self.output else ""

    @property
    def fraction_done(self) -> float:
        """How far the step of the last line is, 0..1."""
        match = re.search(r"(\d+) of (\d+)", self.last_line)
        return min(1.0, int(match[1]) / max(1, int(match[2]))) if match else 0.0

    @property
    def error(self) -> str:
        """The message of a command that failed; empty where it did not."""
        if self.is_running or self.stopped or not self._process.returncode:
            return ""
        lines = (line for line in reversed(self.output) if line.startswith("error: "))
        message = next(lines, self.last_line).removeprefix("error: ")
        return message or f"finetune failed with exit code {self._process.returncode}"

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


_lock = threading.Lock()
_ingests: dict[str, IngestJob] = {}
_evaluation: list[EvaluationJob] = []  # the last one


def start_ingest(collection: str, folder: Path, *, model: str | None, prune: bool) -> IngestJob:
    """Start an ingest, or return the one that is running on the collection."""
    with _lock:
        job = _ingests.get(collection)
        if job is None or not job.is_running:
            job = _ingests[collection] = IngestJob(collection, folder, model, prune)
        return job


def latest_ingest(collection: str) -> IngestJob | None:
    return _ingests.get(collection)


def start_evaluation(run: RunInfo, request: EvaluationRequest) -> EvaluationJob:
    """Start an evaluation; raises `IndexerError` where one is running, or it cannot start."""
    for model in filter(None, (request.before, request.after)):
        check_model_host(get_settings(), model, with_downloads=False)
    with _lock:
        latest = latest_evaluation()
        if latest and latest.is_running:
            raise IndexerError(f"{latest.run.name} is being evaluated; wait for it, or stop it")
        try:
            _evaluation[:] = [EvaluationJob(run, request)]
        except OSError as error:
            raise IndexerError(f"the evaluation cannot start: {error}") from error
        return _evaluation[-1]


def latest_evaluation() -> EvaluationJob | None:
    """The evaluation that is running, or the last one."""
    return _evaluation[-1] if _evaluation else None


def build_command(request: EvaluationRequest, out: Path) -> list[str]:
    """The command line. Names come after `--`, so that none can be read as an option."""
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


def _unused_dir(folder: Path, request: EvaluationRequest) -> Path:
    """A new folder for the result, named after the pairs and the other model."""
    names = [request.pairs.stem, Path(request.before).name if request.before else ""]
    name = "-beside-".join(re.sub(r"[^\w.-]+", "-", part) for part in names if part)
    paths = (folder / (f"{name}-{n}" if n > 1 else name) for n in range(1, 10_000))
    return next(path for path in paths if not path.exists())


def is_any_running() -> bool:
    return any(job.is_running for job in _list_jobs())


def stop_all() -> None:
    """Stop what is running, and wait until its work is saved: the program ends."""
    for ingest in _ingests.values():
        ingest.stop.set()
    for evaluation in _evaluation:
        if evaluation.is_running:
            evaluation.stop()
    for job in _list_jobs():
        job.wait(STOP_TIMEOUT + 1)


def _list_jobs() -> list[IngestJob | EvaluationJob]:
    return [*_ingests.values(), *_evaluation]
