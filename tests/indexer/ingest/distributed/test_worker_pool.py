"""Shards and the deaths of workers: real Ray actors, with a stand-in for what a worker does."""

from __future__ import annotations

import os
import threading

import pytest

from indexer.captions.resolver import FileCaptions
from indexer.errors import IndexerError
from indexer.ingest.catalog_rows import CatalogFile, PendingFile
from indexer.ingest.decode_stage import DecodedFile
from indexer.ingest.distributed.messages import BatchResult, FileOutcome, FileTask, TaskBatch
from indexer.ingest.distributed.worker_pool import MAX_FAILURES, WorkerPool
from indexer.types import SkippedFile

pytestmark = pytest.mark.usefixtures("ray")


def actors(stall: str = ""):
    """What hires workers that die of a file called "deadly", and never start for `stall`."""
    import ray

    class Mortal:  # pickled by value: the tests are no package that a worker could import
        def ready(self) -> None:
            if stall == "dies":
                os.kill(os.getpid(), 9)
            if stall == "refuses":
                raise IndexerError("the model does not load: no such file")

        def work(self, shard: TaskBatch) -> BatchResult:
            for task in shard.tasks:
                if task.file.path == "deadly":
                    os.kill(os.getpid(), 9)
            return BatchResult(
                [FileOutcome(DecodedFile(t.file, _file(t.file.path))) for t in shard.tasks]
            )

        def embed(self, rows: int) -> int:
            return rows

    def _file(path: str) -> CatalogFile:
        return CatalogFile(path, 1, 1, "", "content", FileCaptions())

    return lambda: ray.remote(Mortal).options(num_cpus=0, max_concurrency=4).remote()


def shards(*paths: str, size: int = 16) -> list[TaskBatch]:
    tasks = tuple(FileTask(PendingFile(path, 1, 1, "image")) for path in paths)
    return [TaskBatch(tasks[i : i + size]) for i in range(0, len(tasks), size)]


def run(pool: WorkerPool, given: list[TaskBatch], stop: threading.Event | None = None):
    outcomes = [
        o for done in pool.run(iter(given), stop or threading.Event()) for o in done.outcomes
    ]
    done = sorted(o.item.file.path for o in outcomes if isinstance(o.item, DecodedFile))
    return done, [o.item for o in outcomes if isinstance(o.item, SkippedFile)]


def test_a_deadly_file_is_left_out_and_takes_none_with_it():
    pool = WorkerPool(actors(), 2)
    names = [f"{number:02d}" for number in range(40)]
    done, skipped = run(pool, shards(*names[:20], "deadly", *names[20:]))
    pool.close()
    assert done == names
    assert [(skip.path, skip.reason) for skip in skipped] == [("deadly", "embed-failed")]
    assert f"{MAX_FAILURES + 1} workers" in skipped[0].detail


def test_stop_feeds_no_more_and_keeps_what_is_in_hand():
    pool, stop = WorkerPool(actors(), 1), threading.Event()
    names = [f"{number:02d}" for number in range(64)]
    came = []
    for done in pool.run(iter(shards(*names, size=4)), stop):
        came += [outcome.item.file.path for outcome in done.outcomes]
        stop.set()
    pool.close()
    assert 4 <= len(came) <= 8 and sorted(came) == names[: len(came)]


def test_whoever_is_there_embeds():
    pool = WorkerPool(actors(), 1)
    assert pool.embed(7) == 7
    pool.close()


@pytest.mark.parametrize(
    ("stall", "says"), [("dies", "died one after another"), ("refuses", "^the model does not load")]
)
def test_workers_that_cannot_start_end_the_run(stall, says):
    pool = WorkerPool(actors(stall), 1)
    pool._max_failures = 1
    with pytest.raises(IndexerError, match=says):
        run(pool, shards("a"))
    pool.close()


def test_a_cluster_without_room_is_said():
    import ray

    class Large:
        def ready(self) -> None: ...

    pool = WorkerPool(
        lambda: ray.remote(Large).options(num_cpus=999).remote(), 1, start_timeout=0.0
    )
    with pytest.raises(IndexerError, match="no worker has started within 0 s"):
        run(pool, shards("a"))
    pool.close()
