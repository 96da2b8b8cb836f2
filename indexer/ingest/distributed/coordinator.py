"""The far half of an ingest: shards of what is to be done go out, and come back done."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from embedder import Input, ModelCard, Role, Vectors
from indexer.config import Config
from indexer.errors import IndexerError
from indexer.ingest.catalog import Catalog
from indexer.ingest.decode_stage import DecodedFile
from indexer.ingest.distributed.messages import BatchResult, FileTask, TaskBatch, WorkerJob
from indexer.ingest.distributed.ray_cluster import (
    LOCAL_PREFIX,
    check_workers,
    connect,
    is_single_machine,
    make_actor_factory,
    plan_workers,
    require_ray,
)
from indexer.ingest.distributed.worker_pool import WorkerPool
from indexer.ingest.thumbnails import thumbnail_path, write_thumbnail_bytes
from indexer.ingest.timing import StageTimer
from indexer.places import Index
from indexer.sources.paths import url_scheme
from indexer.types import SkippedFile

if TYPE_CHECKING:
    from indexer.ingest.pipeline import IngestOptions

CPU_ONLY_FAMILIES = {"starter", "remote"}  # families that have no use for a GPU where the worker is


class Coordinator:
    """The workers of one ingest. Nothing is started, or connected to, before there is work.

    It is an embedder as well, for the few texts that this machine has to have embedded: those of
    copies whose captions are merged. Use as a context manager.
    """

    def __init__(
        self,
        address: str,
        config: Config,
        index: Index,
        roots: Sequence[str | Path],
        options: IngestOptions,
    ) -> None:
        require_ray()
        if address.startswith("ray://") and not config.is_remote:
            raise _unreachable_store_error(config)
        self._address, self._options = address, options
        named = tuple(_make_absolute(root) for root in roots)
        self._job = WorkerJob(
            config, index, named, options.source_options, options.limits, options.embed_frames
        )
        self._stack = ExitStack()
        self._pool: WorkerPool | None = None

    @property
    def card(self) -> ModelCard:
        return self._job.index.card

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        with _translate_connection_errors(self._address):
            return self._ensure_pool().embed(inputs, role, instruction)

    def wait_for_workers(self) -> None:
        """Start what `batches` would start, and wait for all workers; raises `IndexerError`."""
        self._ensure_pool().wait_until_ready()

    def iter_batches(
        self,
        catalogue: Catalog,
        thumbs: Path,
        stages: StageTimer,
        skipped: Sequence[SkippedFile],
        stop: threading.Event,
    ) -> Iterator[list[DecodedFile | SkippedFile]]:
        """What is to be done, done: the points are in the store, the catalogue knows nothing yet.

        `stop` ends it after what the workers have in hand. Raises `IndexerError`.
        """
        if not catalogue.count_pending():
            return
        told = set(skipped)  # every worker reads a table of captions, and finds it bad
        with _translate_connection_errors(self._address):
            for done in self._ensure_pool().run(self._iter_task_batches(catalogue), stop):
                for stage, seconds in (done.seconds or {}).items():
                    stages.add(stage, seconds)
                with stages("thumbnail"):
                    _save_thumbnails(done, thumbs)
                new = [skip for skip in done.skips if skip not in told]
                told.update(new)
                yield [*new, *(outcome.item for outcome in done.outcomes)]

    def _iter_task_batches(self, catalogue: Catalog) -> Iterator[TaskBatch]:
        """In the order of paths, so that what lies together is read together."""
        todo = catalogue.iter_pending()
        while page := list(islice(todo, self._options.batch_size)):
            known = (catalogue.get_file(item.path) for item in page)
            yield TaskBatch(
                tuple(
                    FileTask(item, file.content_id if file else None)
                    for item, file in zip(page, known, strict=True)
                )
            )

    def _ensure_pool(self) -> WorkerPool:
        if self._pool is None:
            self._stack.enter_context(connect(self._address))
            self._check_reachable()
            part = plan_workers(self._address, gpu=_wants_gpu(self._job.config, self.card))
            device = "cuda" if part.gpus else self._job.config.device
            config = replace(self._job.config, device=device)
            job = replace(self._job, config=config, decode_threads=part.threads)
            self._pool = WorkerPool(make_actor_factory(job, part), part.workers)
            self._stack.callback(self._pool.close)
        return self._pool

    def _check_reachable(self) -> None:
        if self._address.startswith(LOCAL_PREFIX):
            return
        if not self._job.config.is_remote and not is_single_machine():
            raise _unreachable_store_error(self._job.config)
        check_workers([str(root) for root in self._job.roots if Path(root).exists()])

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def open_coordinator(
    config: Config, index: Index, roots: Sequence[str | Path], options: IngestOptions
) -> AbstractContextManager[Coordinator | None]:
    """The workers that the settings name, if they do; a dry run is this machine's alone."""
    if config.cluster is None or options.dry_run:
        return nullcontext()
    return Coordinator(config.cluster, config, index, roots, options)


def _make_absolute(root: str | Path) -> str | Path:
    """`root` for a process that works elsewhere; a string stays one, for it may be a pattern."""
    if url_scheme(str(root)):
        return root
    path = Path(root).expanduser().absolute()
    return path if isinstance(root, Path) else str(path)


@contextmanager
def _translate_connection_errors(address: str) -> Iterator[None]:
    """Say in words where the cluster is not heard of any more."""
    try:
        yield
    except ConnectionError as error:
        raise IndexerError(
            f"the connection to {address} is lost ({error}); type the command again: it goes on "
            "where it was"
        ) from error


def _unreachable_store_error(config: Config) -> IndexerError:
    return IndexerError(
        f"the collection is in a folder of this machine ({config.store}), which workers on others "
        f"cannot write to; put it on a Qdrant server (--store URL), or use --workers {LOCAL_PREFIX}N"
    )


def _wants_gpu(config: Config, card: ModelCard) -> bool:
    return card.family not in CPU_ONLY_FAMILIES and (config.device or "cuda").startswith("cuda")


def _save_thumbnails(done: BatchResult, thumbs: Path) -> None:
    for outcome in done.outcomes:
        if outcome.thumbnail and isinstance(outcome.item, DecodedFile):
            id = outcome.item.point_ids[0]
            if not thumbnail_path(thumbs, id).exists():
                write_thumbnail_bytes(thumbs, id, outcome.thumbnail)
