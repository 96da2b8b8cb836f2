"""Batches and workers that die: real Ray actors, with a stand-in for what a worker does."""

from __future__ import annotations

import os
import threading

import pytest

from indexer.captions.normalize import FileCaptions
from indexer.errors import IndexerError
from indexer.ingest.distributed.worker import BatchResult, FileTask, TaskBatch
from indexer.ingest.distributed.worker_pool import MAX_FAILURES, WorkerPool
from indexer.ingest.types import CatalogFile, DecodedFile
from indexer.sources import SourceFile
from indexer.types import SkippedFile

pytestmark = pytest.mark.usefixtures("ray")


def make_spawn(at_start: str = ""):
    """Spawns workers that die of a file called "deadly", or fail at the start."""
    import ray

    class StubWorker:  # pickled by value: a worker cannot import the tests
        def start(self) -> None:
            if at_start == "die":
                os.kill(os.getpid(), 9)
            if at_start == "fail":
                raise IndexerError("the model does not load: no such file")

        def process(self, batch: TaskBatch) -> BatchResult:
            if any(task.file.path == "deadly" for task in batch.tasks):
                os.kill(os.getpid(), 9)
            return BatchResult([_decode(task.file) for task in batch.tasks])

        def embed(self, rows: int) -> int:
            return rows

    def _decode(pending: SourceFile) -> DecodedFile:
        file = CatalogFile(pending.path, 1, 1, "content", FileCaptions())
        return DecodedFile(pending=pending, file=file)

    return lambda: ray.remote(StubWorker).options(num_cpus=0, max_concurrency=4).remote()


def make_batches(*paths: str, size: int = 16) -> list[TaskBatch]:
    tasks = tuple(FileTask(SourceFile(path, 1, 1, "image")) for path in paths)
    return [TaskBatch(tasks[i : i + size]) for i in range(0, len(tasks), size)]


def run(pool: WorkerPool, batches: list[TaskBatch]) -> tuple[list[str], list[SkippedFile]]:
    results = [
        file for result in pool.run(iter(batches), threading.Event()) for file in result.files
    ]
    done = sorted(item.file.path for item in results if isinstance(item, DecodedFile))
    return done, [item for item in results if isinstance(item, SkippedFile)]


def test_a_file_that_kills_workers_is_skipped_alone():
    pool = WorkerPool(make_spawn(), 2)
    names = [f"{number:02d}" for number in range(40)]
    done, skipped = run(pool, make_batches(*names[:20], "deadly", *names[20:]))
    pool.close()
    assert done == names
    assert [(skip.path, skip.reason) for skip in skipped] == [("deadly", "embed-failed")]
    assert f"{MAX_FAILURES + 1} workers" in skipped[0].detail


def test_stop_sends_no_more_batches_and_keeps_those_in_flight():
    pool, stop = WorkerPool(make_spawn(), 1), threading.Event()
    names = [f"{number:02d}" for number in range(64)]
    done = []
    for result in pool.run(iter(make_batches(*names, size=4)), stop):
        done += [file.file.path for file in result.files]
        stop.set()
    pool.close()
    assert 4 <= len(done) <= 8 and sorted(done) == names[: len(done)]


def test_any_worker_embeds():
    pool = WorkerPool(make_spawn(), 1)
    assert pool.embed(7) == 7
    pool.close()


@pytest.mark.parametrize(
    ("at_start", "message"),
    [("die", "died one after another"), ("fail", "^the model does not load")],
)
def test_workers_that_cannot_start_end_the_run(at_start, message):
    pool = WorkerPool(make_spawn(at_start), 1)
    pool._max_failures = 1
    with pytest.raises(IndexerError, match=message):
        run(pool, make_batches("a"))
    pool.close()


def test_a_cluster_without_free_resources_is_reported():
    import ray

    class Large:
        def start(self) -> None: ...

    pool = WorkerPool(lambda: ray.remote(Large).options(num_cpus=999).remote(), 1, 0.0)
    with pytest.raises(IndexerError, match="no worker has started within 0 s"):
        run(pool, make_batches("a"))
    pool.close()
