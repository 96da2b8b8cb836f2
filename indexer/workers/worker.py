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
from indexer.catalogue import Catalogue
from indexer.collection import Collection
from indexer.errors import IndexerError
from indexer.files import Content
from indexer.models import load_model
from indexer.places import place_of
from indexer.prepare import Prepared, Preparer
from indexer.sources import Sources
from indexer.thumbnails import jpeg
from indexer.timing import Stages
from indexer.types import Record, Skip
from indexer.walk import printable
from indexer.workers.job import Done, Job, Outcome, Shard, Task
from indexer.writer import Writer


@dataclass(slots=True)
class InTurn:
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

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._tools: Tools | None = None

    def ready(self) -> None:
        """Load the model and open the store, if that has not been done."""
        self._opened()

    def work(self, shard: Shard) -> Done:
        """All files of `shard`: their points are acknowledged by the store on return."""
        return self._opened().work(shard)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """As an embedder does."""
        return self._opened().model.embed(inputs, role, instruction)

    def _opened(self) -> Tools:
        with self._lock:
            if self._tools is None:
                try:
                    self._tools = _tools(self._job)
                except EmbedderError as error:
                    raise IndexerError(str(error)) from error
            return self._tools


@dataclass(slots=True)
class Tools:
    """What a worker works with."""

    job: Job
    collection: Collection
    model: InTurn
    pool: ThreadPoolExecutor
    sources: Sources
    skips: deque[Skip]  # of caption files, not yet reported

    def work(self, shard: Shard) -> Done:
        stages = Stages()
        with closing(Catalogue(Path(":memory:"))) as catalogue:
            for task in shard.tasks:
                if task.known:
                    catalogue.put_content(Content(task.known, 0, []))
            preparers = (self._preparer(catalogue, stages) for _ in shard.tasks)
            made = list(self.pool.map(_prepare, preparers, shard.tasks))
        items = [item for item, _ in made if isinstance(item, Prepared)]
        became = self._write(items, stages, again=shard.deaths > 0)
        outcomes = [Outcome(became.get(_path(item), item), picture) for item, picture in made]
        skips = [self.skips.popleft() for _ in range(len(self.skips))]
        return Done(outcomes, tuple(skips), stages.seconds)

    def _preparer(self, catalogue: Catalogue, stages: Stages) -> Preparer:
        """One for each file: of copies, each is decoded, for another may come to nothing."""
        job = self.job
        side = self.model.card.image_side
        return Preparer(catalogue, self.sources, job.limits, side, None, job.frames, stages)

    def _write(
        self, items: Sequence[Prepared], stages: Stages, *, again: bool
    ) -> dict[str, Prepared | Skip]:
        """Write what the store does not have; what became of each file, by its path."""
        with stages("upsert"):
            ids = [id for item in items for id in item.ids if item.new]
            stored = {r.id: r for r in self.collection.store.retrieve(ids)} if ids else {}
        fresh = [i for i in items if i.new and not stored.keys() >= set(i.ids)]
        failed: list[Skip] = []
        with closing(Catalogue(Path(":memory:"))) as catalogue:
            writer = Writer(self.collection, catalogue, lambda: self.model, stages, failed.append)
            writer.insert(fresh)
        written = {_path(item) for item in fresh}
        if again:  # what is there was written by the worker that died
            written |= {_path(i) for i in items if i.new and _is_alone(i, stored)}
        became: dict[str, Prepared | Skip] = {
            _path(i): replace(i, pictures=(), written=_path(i) in written) for i in items
        }
        return became | {skip.path: skip for skip in failed}


def _tools(job: Job) -> Tools:
    model = load_model(job.config, job.index.card, job.threads)
    collection = Collection.open_index(job.config, place_of(job.config), job.index)
    threads = ThreadPoolExecutor(job.threads, thread_name_prefix="decode")
    skips: deque[Skip] = deque()
    sources = Sources.open(job.roots, job.reading, skips.append)
    return Tools(job, collection, InTurn(model), threads, sources, skips)


def _prepare(preparer: Preparer, task: Task) -> tuple[Prepared | Skip, bytes | None]:
    """The file, and its thumbnail."""
    item = preparer.prepare(task.todo)
    if isinstance(item, Skip) or not item.pictures:
        return item, None
    with preparer.stages("thumbnail"):
        return item, jpeg(item.pictures[0])


def _path(item: Prepared | Skip) -> str:
    return item.path if isinstance(item, Skip) else printable(item.file.path)


def _is_alone(item: Prepared, stored: dict[str, Record]) -> bool:
    """Whether the point in the store knows of no file but this one."""
    record = stored.get(item.ids[0])
    return record is not None and record.payload["paths"] == [_path(item)]
