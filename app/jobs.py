"""Ingests that run behind the pages: one a collection, in a thread, whoever looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.resources import model_of, settings
from embedder import EmbedderError
from indexer.collection import Collection
from indexer.decode import Limits
from indexer.errors import IndexerError
from indexer.ingest import IngestOptions, ingest
from indexer.types import IngestReport, Progress
from indexer.workers.fleet import hired


class Job:
    """One ingest: where it stands, and what came of it."""

    def __init__(self, collection: str, folder: Path, model: str | None, prune: bool) -> None:
        self.collection, self.folder, self.model, self.prune = collection, folder, model, prune
        self.progress: Progress | None = None
        self.report: IngestReport | None = None
        self.error = ""
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ingest-{collection}", daemon=True)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.report = self._ingest(self._note)
        except (IndexerError, EmbedderError) as error:
            self.error = str(error)

    def _note(self, progress: Progress) -> None:
        self.progress = progress

    def _ingest(self, on_progress: Callable[[Progress], None]) -> IngestReport:
        config = replace(settings(), collection=self.collection)
        embedder = model_of(self.collection, self.model)
        options = IngestOptions(
            limits=Limits(config.max_bytes, config.max_pixels),
            batch=config.batch,
            workers=config.threads,
            prune=self.prune,
        )
        with (
            Collection.open_or_create(config, embedder.card) as collection,
            hired(config, collection.opened, [self.folder], options) as fleet,
        ):
            model = fleet or embedder
            return ingest([self.folder], collection, model, options, on_progress, self.stop, fleet)


_JOBS: dict[str, Job] = {}
_LOCK = threading.Lock()


def start(collection: str, folder: Path, *, model: str | None, prune: bool) -> Job:
    """Begin an ingest, or give back the one that is running on the collection."""
    with _LOCK:
        job = _JOBS.get(collection)
        if job is None or not job.running:
            job = _JOBS[collection] = Job(collection, folder, model, prune)
            job.start()
        return job


def latest(collection: str) -> Job | None:
    return _JOBS.get(collection)
