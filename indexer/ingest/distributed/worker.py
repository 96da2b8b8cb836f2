"""A worker: reads, decodes, embeds and writes the files of one shard after another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedder import Embedder, EmbedderError, Input, ModelCard, Role, Vectors
from indexer.collection import Collection
from indexer.errors import IndexerError
from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import CatalogContent
from indexer.ingest.decode_stage import DecodedFile, DecodeStage
from indexer.ingest.distributed.messages import (
    BatchResult,
    FileOutcome,
    FileTask,
    TaskBatch,
    WorkerJob,
)
from indexer.ingest.thumbnails import encode_thumbnail
from indexer.ingest.timing import StageTimer
from indexer.ingest.write_stage import PointWriter
from indexer.models import load_model
from indexer.paths import display_path
from indexer.places import place_of
from indexer.sources import SourceSet
from indexer.types import Record, SkippedFile


@dataclass(slots=True)
class LockedEmbedder:
    """An embedder that several threads share: one is embedded while others decode and write."""

    embedder: Embedder
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def card(self) -> ModelCard:
        return self.embedder.card

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        with self._lock:
            return self.embedder.embed(inputs, role, instruction)


class Worker:
    """One process with the model and the store open. Thread-safe: two shards at once keep the
    model busy, for one is decoded or written while the other is embedded.

    Methods raise `IndexerError` for what is no fault of the files: the run ends.
    """

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._context: WorkerContext | None = None

    def ready(self) -> None:
        """Load the model and open the store, if that has not been done."""
        self._get_context()

    def work(self, shard: TaskBatch) -> BatchResult:
        """All files of `shard`: their points are acknowledged by the store on return."""
        return self._get_context().work(shard)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """As an embedder does."""
        return self._get_context().model.embed(inputs, role, instruction)

    def _get_context(self) -> WorkerContext:
        with self._lock:
            if self._context is None:
                try:
                    self._context = _open_context(self._job)
                except EmbedderError as error:
                    raise IndexerError(str(error)) from error
            return self._context


@dataclass(slots=True)
class WorkerContext:
    """What a worker works with."""

    job: WorkerJob
    collection: Collection
    model: LockedEmbedder
    pool: ThreadPoolExecutor
    sources: SourceSet
    skips: deque[SkippedFile]  # of caption files, not yet reported

    def work(self, shard: TaskBatch) -> BatchResult:
        stages = StageTimer()
        with closing(Catalog(Path(":memory:"))) as catalogue:
            for task in shard.tasks:
                if task.known_content_id:
                    catalogue.put_content(CatalogContent(task.known_content_id, 0, []))
            preparers = (self._make_decode_stage(catalogue, stages) for _ in shard.tasks)
            made = list(self.pool.map(_decode_task, preparers, shard.tasks))
        items = [item for item, _ in made if isinstance(item, DecodedFile)]
        became = self._write(items, stages, retried=shard.failures > 0)
        outcomes = [
            FileOutcome(became.get(_shown_path(item), item), picture) for item, picture in made
        ]
        skips = [self.skips.popleft() for _ in range(len(self.skips))]
        return BatchResult(outcomes, tuple(skips), stages.seconds)

    def _make_decode_stage(self, catalogue: Catalog, stages: StageTimer) -> DecodeStage:
        """One for each file: of copies, each is decoded, for another may come to nothing."""
        job = self.job
        side = self.model.card.image_side
        return DecodeStage(
            catalogue, self.sources, job.limits, side, None, job.embed_frames, stages
        )

    def _write(
        self, items: Sequence[DecodedFile], stages: StageTimer, *, retried: bool
    ) -> dict[str, DecodedFile | SkippedFile]:
        """Write what the store does not have; what became of each file, by its path."""
        with stages("upsert"):
            ids = [id for item in items for id in item.point_ids if item.new_content]
            stored = {r.id: r for r in self.collection.store.retrieve(ids)} if ids else {}
        fresh = [i for i in items if i.new_content and not stored.keys() >= set(i.point_ids)]
        failed: list[SkippedFile] = []
        with closing(Catalog(Path(":memory:"))) as catalogue:
            writer = PointWriter(
                self.collection, catalogue, lambda: self.model, stages, failed.append
            )
            writer.insert(fresh)
        written = {_shown_path(item) for item in fresh}
        if retried:  # what is there was written by the worker that died
            written |= {_shown_path(i) for i in items if i.new_content and _is_only_path(i, stored)}
        became: dict[str, DecodedFile | SkippedFile] = {
            _shown_path(i): replace(i, images=(), written_by_worker=_shown_path(i) in written)
            for i in items
        }
        return became | {skip.path: skip for skip in failed}


def _open_context(job: WorkerJob) -> WorkerContext:
    model = load_model(job.config, job.index.card, job.decode_threads)
    collection = Collection.open_index(job.config, place_of(job.config), job.index)
    threads = ThreadPoolExecutor(job.decode_threads, thread_name_prefix="decode")
    skips: deque[SkippedFile] = deque()
    sources = SourceSet.open(job.roots, job.source_options, skips.append)
    return WorkerContext(job, collection, LockedEmbedder(model), threads, sources, skips)


def _decode_task(
    preparer: DecodeStage, task: FileTask
) -> tuple[DecodedFile | SkippedFile, bytes | None]:
    """The file, and its thumbnail."""
    item = preparer.decode(task.file)
    if isinstance(item, SkippedFile) or not item.images:
        return item, None
    with preparer.timer("thumbnail"):
        return item, encode_thumbnail(item.images[0])


def _shown_path(item: DecodedFile | SkippedFile) -> str:
    return item.path if isinstance(item, SkippedFile) else display_path(item.file.path)


def _is_only_path(item: DecodedFile, stored: dict[str, Record]) -> bool:
    """Whether the point in the store knows of no file but this one."""
    record = stored.get(item.point_ids[0])
    return record is not None and record.payload["paths"] == [_shown_path(item)]
