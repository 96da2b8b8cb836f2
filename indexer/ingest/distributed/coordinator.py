"""The coordinator of a distributed ingest: sends out pending files and receives the results."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from embedder import Input, ModelCard, Role, Vectors
from indexer.collections import CollectionBackend, CollectionIndex, open_backend
from indexer.collections.model_hosts import check_model_host
from indexer.config import Config
from indexer.errors import IndexerError
from indexer.ingest.catalog import Catalog
from indexer.ingest.distributed import ray_cluster
from indexer.ingest.distributed.ray_cluster import LOCAL_PREFIX
from indexer.ingest.distributed.worker import FileTask, TaskBatch, WorkerJob
from indexer.ingest.distributed.worker_pool import WorkerPool
from indexer.ingest.thumbnails import is_thumbnail, thumbnail_path, write_thumbnail
from indexer.ingest.types import DecodedFile, IngestOptions, StageTimer
from indexer.paths import make_point_ids, url_scheme
from indexer.types import SkippedFile

CPU_ONLY_FAMILIES = {"starter", "remote"}  # they do not use a GPU of the worker


class Coordinator:
    """The workers of one ingest. They are started, and Ray is connected to, when there is work.

    It is an embedder as well, for the few inputs that this process has to embed: captions that are
    merged from copies. Use as a context manager.
    """

    def __init__(
        self,
        address: str,
        config: Config,
        index: CollectionIndex,
        roots: Sequence[str | Path],
        options: IngestOptions,
    ) -> None:
        ray_cluster.import_ray()
        self._backend = open_backend(config)
        _check_store(address, self._backend)
        self._address = address
        if config.model is None:  # workers have not the file of hosts that were agreed to
            check_model_host(config, index.card.name)
            config = replace(config, model=index.card.name)
        self._job = WorkerJob(
            config=config,
            index=replace(index, server_collection=None),  # a worker asks the server itself
            roots=tuple(_make_absolute(root) for root in roots),
            options=options,
        )
        self._stack = ExitStack()
        self._pool: WorkerPool | None = None

    @property
    def card(self) -> ModelCard:
        return self._job.index.card

    def set_caption_roots(self, roots: tuple[str, ...]) -> None:
        """See `SourceOptions.caption_roots`; before the workers start."""
        options = replace(self._job.options, caption_roots=roots)
        self._job = replace(self._job, options=options)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        with _translate_connection_errors(self._address):
            return self._ensure_pool().embed(inputs, role, instruction)

    def wait_for_workers(self) -> None:
        """Start all workers, and wait until they are ready; raises `IndexerError`."""
        self._ensure_pool().wait_until_ready()

    def iter_batches(
        self,
        catalog: Catalog,
        thumbnails_dir: Path,
        timer: StageTimer,
        skipped: Sequence[SkippedFile],
        stop: threading.Event,
    ) -> Generator[list[DecodedFile | SkippedFile]]:
        """The pending files, decoded and embedded; their thumbnails are written.

        `stop` ends it after the batches in flight. Raises `IndexerError`.
        """
        if not catalog.count_pending():
            return
        reported = set(skipped)  # every worker reads the tables of captions, and reports bad ones
        with _translate_connection_errors(self._address):
            for result in self._ensure_pool().run(self._iter_task_batches(catalog), stop):
                for stage, seconds in result.seconds.items():
                    timer.add(stage, seconds)
                with timer("thumbnail"):
                    for content_id, thumbnail in result.thumbnails.items():
                        (point_id,) = make_point_ids(content_id)
                        if not is_thumbnail(thumbnail_path(thumbnails_dir, point_id)):
                            write_thumbnail(thumbnails_dir, point_id, thumbnail)
                skips = [skip for skip in result.caption_skips if skip not in reported]
                reported.update(skips)
                yield [*skips, *result.files]

    def _iter_task_batches(self, catalog: Catalog) -> Iterator[TaskBatch]:
        """In the order of paths, so that files of one folder or archive are read together."""
        pending = catalog.iter_pending()
        while page := list(islice(pending, self._job.options.batch_size)):
            known = [catalog.get_file(file.path) for file in page]
            ids = [file.content_id if file else None for file in known]
            yield TaskBatch(tuple(map(FileTask, page, ids)))

    def _ensure_pool(self) -> WorkerPool:
        if self._pool is None:
            config = self._job.config
            self._stack.enter_context(ray_cluster.connect(self._address))
            self._check_reachable()
            resources = ray_cluster.plan_workers(self._address, gpu=_uses_gpu(config, self.card))
            config = replace(config, device="cuda" if resources.gpus else config.device)
            job = replace(self._job, config=config, decode_threads=resources.threads)
            spawn = ray_cluster.make_actor_factory(job, resources)
            self._pool = WorkerPool(spawn, resources.workers)
            self._stack.callback(self._pool.close)
        return self._pool

    def _check_reachable(self) -> None:
        if self._address.startswith(LOCAL_PREFIX):
            return
        if not self._backend.is_shared and not ray_cluster.is_single_machine():
            raise _unreachable_store_error(self._backend)
        ray_cluster.check_workers([str(root) for root in self._job.roots if Path(root).exists()])

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _make_absolute(root: str | Path) -> str | Path:
    """`root` for a process elsewhere; a string stays a string, since it may be a pattern."""
    if url_scheme(str(root)):
        return root
    path = Path(os.path.expanduser(root)).absolute()
    return path if isinstance(root, Path) else str(path)


@contextmanager
def _translate_connection_errors(address: str) -> Iterator[None]:
    try:
        yield
    except ConnectionError as error:
        raise IndexerError(
            f"the connection to {address} is lost ({error}); run the command again: it continues "
            "where it stopped"
        ) from error


@contextmanager
def connect(address: str, config: Config) -> Iterator[None]:
    """Connect to the cluster at `address`, from which ingests then start their workers.

    Raises:
        MissingExtraError: Ray is not installed.
        IndexerError: No cluster answers, or its workers cannot reach the store.
    """
    ray_cluster.import_ray()
    _check_store(address, open_backend(config))
    with ray_cluster.connect(address):
        yield


def _check_store(address: str, backend: CollectionBackend) -> None:
    if address.startswith("ray://") and not backend.is_shared:
        raise _unreachable_store_error(backend)


def _unreachable_store_error(backend: CollectionBackend) -> IndexerError:
    return IndexerError(
        f"the collection is in a folder of this machine ({backend.location}), which workers on "
        "other machines cannot read; put it on a Qdrant server (--store URL), or use --workers "
        f"{LOCAL_PREFIX}N"
    )


def _uses_gpu(config: Config, card: ModelCard) -> bool:
    return card.family not in CPU_ONLY_FAMILIES and (config.device or "cuda").startswith("cuda")
