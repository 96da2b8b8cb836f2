"""Shards and the deaths of workers: real Ray actors, with a stand-in for what a worker does."""

from __future__ import annotations

import os
import threading

import pytest

from indexer.captions import Described
from indexer.errors import IndexerError
from indexer.files import File, Todo
from indexer.prepare import Prepared
from indexer.types import Skip
from indexer.workers.job import Done, Outcome, Shard, Task
from indexer.workers.pool import DEADLY, Pool

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

        def work(self, shard: Shard) -> Done:
            for task in shard.tasks:
                if task.todo.path == "deadly":
                    os.kill(os.getpid(), 9)
            return Done([Outcome(Prepared(t.todo, _file(t.todo.path))) for t in shard.tasks])

        def embed(self, rows: int) -> int:
            return rows

    def _file(path: str) -> File:
        return File(path, 1, 1, "", "content", Described())

    return lambda: ray.remote(Mortal).options(num_cpus=0, max_concurrency=4).remote()


def shards(*paths: str, size: int = 16) -> list[Shard]:
    tasks = tuple(Task(Todo(path, 1, 1, "image")) for path in paths)
    return [Shard(tasks[i : i + size]) for i in range(0, len(tasks), size)]


def run(pool: Pool, given: list[Shard], stop: threading.Event | None = None):
    outcomes = [
        o for done in pool.run(iter(given), stop or threading.Event()) for o in done.outcomes
    ]
    done = sorted(o.item.file.path for o in outcomes if isinstance(o.item, Prepared))
    return done, [o.item for o in outcomes if isinstance(o.item, Skip)]


def test_a_deadly_file_is_left_out_and_takes_none_with_it():
    pool = Pool(actors(), 2)
    names = [f"{number:02d}" for number in range(40)]
    done, skipped = run(pool, shards(*names[:20], "deadly", *names[20:]))
    pool.close()
    assert done == names
    assert [(skip.path, skip.reason) for skip in skipped] == [("deadly", "embed-failed")]
    assert f"{DEADLY + 1} workers" in skipped[0].detail


def test_stop_feeds_no_more_and_keeps_what_is_in_hand():
    pool, stop = Pool(actors(), 1), threading.Event()
    names = [f"{number:02d}" for number in range(64)]
    came = []
    for done in pool.run(iter(shards(*names, size=4)), stop):
        came += [outcome.item.file.path for outcome in done.outcomes]
        stop.set()
    pool.close()
    assert 4 <= len(came) <= 8 and sorted(came) == names[: len(came)]


def test_whoever_is_there_embeds():
    pool = Pool(actors(), 1)
    assert pool.embed(7) == 7
    pool.close()


@pytest.mark.parametrize(
    ("stall", "says"), [("dies", "died one after another"), ("refuses", "^the model does not load")]
)
def test_workers_that_cannot_start_end_the_run(stall, says):
    pool = Pool(actors(stall), 1)
    pool._most = 1
    with pytest.raises(IndexerError, match=says):
        run(pool, shards("a"))
    pool.close()


def test_a_cluster_without_room_is_said():
    import ray

    class Large:
        def ready(self) -> None: ...

    pool = Pool(lambda: ray.remote(Large).options(num_cpus=999).remote(), 1, patience=0.0)
    with pytest.raises(IndexerError, match="no worker has started within 0 s"):
        run(pool, shards("a"))
    pool.close()
