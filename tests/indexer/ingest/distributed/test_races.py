"""Workers and this machine cross each other's ways: what comes out is what one process makes.

The workers are objects of this process: nothing here needs Ray.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.images.decode import DecodeLimits
from indexer.cli._open import make_ingest_embedder
from indexer.collection import Collection
from indexer.config import Config, load_config
from indexer.ids import hash_content, make_point_ids
from indexer.ingest.catalog_rows import PendingFile
from indexer.ingest.decode_stage import DecodedFile
from indexer.ingest.distributed.messages import BatchResult, FileTask, TaskBatch, WorkerJob
from indexer.ingest.distributed.worker import Worker
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.places import place_of
from indexer.sources import SourceOptions
from indexer.types import IngestReport, Record, SkippedFile


class Scripted:
    """A fleet whose answers are given by a test, in their order."""

    def __init__(self, answers: list[BatchResult], embedder) -> None:
        self._answers, self._embedder = answers, embedder
        self.card, self.embed = embedder.card, embedder.embed

    def batches(
        self, catalogue, thumbs, stages, skipped, stop
    ) -> Iterator[list[DecodedFile | SkippedFile]]:
        for done in self._answers:
            yield [outcome.item for outcome in done.outcomes]


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    """Two copies of a picture, each with its own caption."""
    folder = tmp_path / "pictures"
    photo(folder / "a.png", 1)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "a.txt").write_text("red")
    (folder / "b.txt").write_text("blue")
    return folder


@pytest.fixture
def config(tmp_path, served) -> Config:
    return load_config({"store": str(tmp_path / "store"), "model": served.url})


@pytest.fixture
def collection(config) -> Iterator[Collection]:
    with Collection.open_or_create(config, make_ingest_embedder(config).card) as opened:
        yield opened


def job(config: Config, folder: Path) -> WorkerJob:
    index = place_of(config).indexes(config.collection).in_use
    return WorkerJob(config, index, (folder,), SourceOptions(), DecodeLimits(), False)


def shard(*paths: Path, deaths: int = 0) -> TaskBatch:
    def task(path: Path) -> FileTask:
        found = path.stat()
        return FileTask(PendingFile(str(path), found.st_size, found.st_mtime_ns, "image"))

    return TaskBatch(tuple(task(path) for path in paths), deaths)


def written(done: BatchResult) -> list[bool]:
    return [outcome.item.written_by_worker for outcome in done.outcomes]


def finish(
    config: Config, collection: Collection, folder: Path, *answers: BatchResult
) -> IngestReport:
    fleet = Scripted(list(answers), make_ingest_embedder(config))
    return ingest([folder], collection, fleet, IngestOptions(), coordinator=fleet)


def plain(config: Config, folder: Path) -> list[Record]:
    """What one process makes of the folder."""
    other = replace(config, store=config.store + "-plain")
    model = make_ingest_embedder(other)
    with Collection.open_or_create(other, model.card) as opened:
        ingest([folder], opened, model)
        return opened.store.scroll(vectors=True)[0]


def assert_same(ours: list[Record], theirs: list[Record]) -> None:
    assert [r.id for r in ours] == [r.id for r in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine.payload == yours.payload
        assert mine.vectors.keys() == yours.vectors.keys() == {"image", "text", "bm25"}
        assert mine.vectors["bm25"] == yours.vectors["bm25"]
        for name in ("image", "text"):
            assert np.dot(mine.vectors[name], yours.vectors[name]) > 0.9999


def test_copies_in_the_hands_of_two_workers(config, collection, folder):
    first, second = (Worker(job(config, folder)) for _ in range(2))
    a = first.work(shard(folder / "a.png"))
    b = second.work(shard(folder / "b.png"))
    assert (written(a), written(b)) == ([True], [False])
    report = finish(config, collection, folder, b, a)  # the later one is heard of first
    assert (report.added, report.unchanged, report.updated) == (1, 0, 0)
    assert_same(collection.store.scroll(vectors=True)[0], plain(config, folder))


def test_a_copys_worker_that_looked_before_and_wrote_after(config, collection, folder, monkeypatch):
    worker, late = (Worker(job(config, folder)) for _ in range(2))
    a = worker.work(shard(folder / "a.png"))
    store = late._get_context().collection.store
    looked, go_on = threading.Event(), threading.Event()
    upsert = store.upsert

    def slow(records):
        looked.set()
        assert go_on.wait(30)
        upsert(records)

    monkeypatch.setattr(store, "retrieve", lambda ids, vectors=False: [])  # as it was a moment ago
    monkeypatch.setattr(store, "upsert", slow)
    answers: list[BatchResult] = []
    thread = threading.Thread(target=lambda: answers.append(late.work(shard(folder / "b.png"))))
    thread.start()
    assert looked.wait(30)

    def both() -> Iterator[BatchResult]:
        yield a  # written to the catalogue, and then the late one overwrites the point
        go_on.set()
        thread.join(30)
        yield answers[0]

    fleet = Scripted([], make_ingest_embedder(config))
    fleet._answers = both()
    report = ingest([folder], collection, fleet, IngestOptions(), coordinator=fleet)
    assert written(answers[0]) == [True]
    assert (report.added, report.updated, report.unchanged) == (1, 0, 0)
    assert_same(collection.store.scroll(vectors=True)[0], plain(config, folder))


def test_a_task_that_is_done_again_after_its_worker_died(config, collection, folder):
    Worker(job(config, folder)).work(shard(folder / "a.png"))  # nobody hears of it
    (folder / "b.png").unlink()
    (folder / "b.txt").unlink()
    before = collection.store.scroll(vectors=True)[0]
    again = Worker(job(config, folder)).work(shard(folder / "a.png", deaths=1))
    report = finish(config, collection, folder, again)
    assert (report.added, report.unchanged) == (1, 0)
    assert_same(collection.store.scroll(vectors=True)[0], before)


def test_a_point_that_was_deleted_after_a_worker_found_it(config, collection, folder):
    worker = Worker(job(config, folder))
    worker.work(shard(folder / "a.png"))
    found = worker.work(shard(folder / "a.png", folder / "b.png"))
    assert written(found) == [False, False]
    collection.store.delete(make_point_ids(hash_content((folder / "a.png").read_bytes())))
    report = finish(config, collection, folder, found)
    assert (report.added, report.skipped) == (1, ())
    assert_same(collection.store.scroll(vectors=True)[0], plain(config, folder))


def test_copies_in_one_shard_are_embedded_once(config, collection, folder, served):
    seen = served.pictures
    done = Worker(job(config, folder)).work(shard(folder / "a.png", folder / "b.png"))
    assert served.pictures - seen == 1
    finish(config, collection, folder, done)
    assert_same(collection.store.scroll(vectors=True)[0], plain(config, folder))
