"""Ingests that run behind the pages: one a collection, in a thread, whoever looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.services import choose_model, get_settings
from embedder import EmbedderError
from embedder.images.decode import DecodeLimits
from indexer.collections.collection import OpenCollection
from indexer.errors import IndexerError
from indexer.ingest.pipeline import ingest_with_workers
from indexer.ingest.types import IngestOptions
from indexer.types import IngestProgress, IngestReport


class IngestJob:
    """One ingest: where it stands, and what came of it."""

    def __init__(self, collection: str, folder: Path, model: str | None, prune: bool) -> None:
        self.collection, self.folder, self.model, self.prune = collection, folder, model, prune
        self.progress: IngestProgress | None = None
        self.report: IngestReport | None = None
        self.error = ""
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"ingest-{collection}", daemon=True)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.report = self._ingest(self._on_progress)
        except (IndexerError, EmbedderError) as error:
            self.error = str(error)

    def _on_progress(self, progress: IngestProgress) -> None:
        self.progress = progress

    def _ingest(self, on_progress: Callable[[IngestProgress], None]) -> IngestReport:
        config = replace(get_settings(), collection=self.collection)
        embedder = choose_model(self.collection, self.model)
        options = IngestOptions(
            limits=DecodeLimits(config.max_bytes, config.max_pixels),
            batch_size=config.batch,
            decode_threads=config.decode_threads,
            prune=self.prune,
        )
        with OpenCollection.open_or_create(config, embedder.card) as collection:
            return ingest_with_workers(
                config, [self.folder], collection, embedder, options, on_progress, self.stop
            )


_JOBS: dict[str, IngestJob] = {}
_LOCK = threading.Lock()


def start_ingest(collection: str, folder: Path, *, model: str | None, prune: bool) -> IngestJob:
    """Begin an ingest, or give back the one that is running on the collection."""
    with _LOCK:
        job = _JOBS.get(collection)
        if job is None or not job.is_running:
            job = _JOBS[collection] = IngestJob(collection, folder, model, prune)
            job.start()
        return job


def latest_ingest(collection: str) -> IngestJob | None:
    return _JOBS.get(collection)
