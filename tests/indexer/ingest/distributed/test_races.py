"""Workers that process copies, and points that change meanwhile: the same result as one process.

The workers are objects of this process: nothing here needs Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import make_lazy_embedder
from indexer.config import Config, load_config
from indexer.ingest.distributed.worker import BatchResult, FileTask, TaskBatch, Worker, WorkerJob
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import DecodedFile, IngestOptions
from indexer.paths import hash_content, make_point_ids
from indexer.sources import SourceFile
from indexer.types import IngestReport, Record, SkippedFile


class ScriptedCoordinator:
    """A coordinator whose results are given by a test, in their order."""

    def __init__(self, results: Iterator[BatchResult], embedder) -> None:
        self._results = results
        self.card, self.embed = embedder.card, embedder.embed

    def set_caption_roots(self, roots: tuple[str, ...]) -> None:
        pass

    def iter_batches(self, *_: object) -> Iterator[list[DecodedFile | SkippedFile]]:
        for result in self._results:
            yield result.files


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    """Two copies of an image, each with its own caption."""
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
def collection(config) -> Iterator[OpenCollection]:
    with OpenCollection.open_or_create(config, make_lazy_embedder(config, None).card) as opened:
        yield opened


@pytest.fixture
def make_worker(config, collection, folder) -> Callable[[], Worker]:
    index = open_backend(config).get_indexes(config.collection).in_use
    job = WorkerJob(config=config, index=index, roots=(folder,), options=IngestOptions())

    def start_worker() -> Worker:
        worker = Worker(job)
        worker.start()
        return worker

    return start_worker


def make_batch(*paths: Path) -> TaskBatch:
    def make_task(path: Path) -> FileTask:
        status = path.stat()
        return FileTask(SourceFile(str(path), status.st_size, status.st_mtime_ns, "image"))

    return TaskBatch(tuple(make_task(path) for path in paths))


def list_embedded(result: BatchResult) -> list[bool]:
    """Which files a worker has embedded."""
    return [file.image_vector is not None for file in result.files]


def finish(
    config: Config, collection: OpenCollection, folder: Path, *results: BatchResult
) -> IngestReport:
    model = make_lazy_embedder(config, None)
    coordinator = ScriptedCoordinator(iter(results), model)
    return ingest([folder], collection, model, coordinator=coordinator)


def assert_as_one_process(config: Config, collection: OpenCollection, folder: Path) -> None:
    """The points are those that one process makes of the folder."""
    other = replace(config, store=config.store + "-other")
    model = make_lazy_embedder(other, None)
    with OpenCollection.open_or_create(other, model.card) as opened:
        ingest([folder], opened, model)
        assert_same(read_points(collection), read_points(opened))


def read_points(collection: OpenCollection) -> list[Record]:
    return collection.store.scroll(vectors=True)[0]


def assert_same(points: list[Record], expected: list[Record]) -> None:
    assert [record.id for record in points] == [record.id for record in expected]
    for record, other in zip(points, expected, strict=True):
        assert {**record.payload, "added": None} == {**other.payload, "added": None}
        assert record.vectors.keys() == other.vectors.keys() == {"image", "text", "bm25"}
        assert record.vectors["bm25"] == other.vectors["bm25"]
        for name in ("image", "text"):
            assert np.dot(record.vectors[name], other.vectors[name]) > 0.9999


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_workers_that_embed_copies_at_once(config, collection, folder, make_worker, order):
    results = [make_worker().process(make_batch(folder / name)) for name in ("a.png", "b.png")]
    assert [list_embedded(result) for result in results] == [[True], [True]]
    assert collection.store.count() == 0  # workers do not write
    report = finish(config, collection, folder, *(results[i] for i in order))
    assert (report.added, report.unchanged, report.updated) == (1, 0, 0)
    assert_as_one_process(config, collection, folder)


def test_a_batch_that_is_processed_again_is_written_once(config, collection, folder, make_worker):
    batch = make_batch(folder / "a.png", folder / "b.png")
    first = make_worker().process(batch)  # its worker dies before it answers, say
    again = make_worker().process(replace(batch, failures=1))
    report = finish(config, collection, folder, again, first)
    assert (report.added, report.unchanged) == (1, 0)
    assert_as_one_process(config, collection, folder)


def test_what_the_store_has_is_not_embedded_again(config, collection, folder, make_worker, served):
    finish(config, collection, folder, make_worker().process(make_batch(folder / "a.png")))
    before, embedded = read_points(collection), served.images
    for file in collection.path.glob("catalogue.db*"):
        file.unlink()
    result = make_worker().process(make_batch(folder / "a.png"))
    assert list_embedded(result) == [False]
    report = finish(config, collection, folder, result)
    assert (report.added, report.unchanged) == (0, 1)
    assert served.images == embedded
    assert_same(read_points(collection), before)


def test_a_point_that_is_deleted_after_a_worker_found_it(config, collection, folder, make_worker):
    batch = make_batch(folder / "a.png", folder / "b.png")
    finish(config, collection, folder, make_worker().process(batch))
    for file in collection.path.glob("catalogue.db*"):
        file.unlink()
    found = make_worker().process(batch)
    assert list_embedded(found) == [False, False]
    collection.store.delete(make_point_ids(hash_content((folder / "a.png").read_bytes())))
    report = finish(config, collection, folder, found)
    assert (report.added, report.skipped) == (1, ())
    assert_as_one_process(config, collection, folder)


def test_copies_in_one_batch_are_embedded_once(config, collection, folder, make_worker, served):
    before = served.images
    result = make_worker().process(make_batch(folder / "a.png", folder / "b.png"))
    assert served.images - before == 1
    finish(config, collection, folder, result)
    assert_as_one_process(config, collection, folder)
