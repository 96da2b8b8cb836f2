"""An ingest by workers on a Ray cluster of this machine: the same result as by one process."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import make_lazy_embedder
from indexer.collections.schema import BM25
from indexer.config import Config, load_config
from indexer.errors import IndexerError
from indexer.ingest.distributed.coordinator import Coordinator
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.reindex import reindex
from indexer.types import IngestProgress, IngestReport, Record

REMOTE = Config(store="http://127.0.0.1:9")
pytestmark = pytest.mark.usefixtures("ray")


@pytest.fixture
def images(tmp_path, photo) -> Path:
    """Images with captions and copies, documents, and a damaged file: 28 contents."""
    folder = tmp_path / "pictures"
    for number in range(24):
        photo(folder / f"{number % 3}" / f"{number:02d}.png", number)
    (folder / "0/00.txt").write_text("red house")
    (folder / "1/01.de.txt").write_text("rotes Haus")
    (folder / "2/02.json").write_text("{bad")  # the image is indexed without it
    for copy, caption in (("1/copy.png", "blue copy"), ("2/copy.png", "green copy")):
        (folder / copy).write_bytes((folder / "0/00.png").read_bytes())
        (folder / copy).with_suffix(".txt").write_text(caption)
    (folder / "captions.csv").write_text("file,caption\n0/03.png,a green field\n")
    for number in range(4):
        (folder / f"note-{number}.md").write_text(f"# Note\n\nWhat was seen on day {number}.\n")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return folder


def make_config(tmp_path: Path, served, name: str) -> Config:
    return load_config({"store": str(tmp_path / name), "model": served.url})


def make_options(batch_size: int = 5) -> IngestOptions:
    return IngestOptions(batch_size=batch_size)


def ingest_here(config: Config, folder: Path) -> IngestReport:
    model = make_lazy_embedder(config, None)
    with OpenCollection.open_or_create(config, model.card) as collection:
        return ingest([folder], collection, model, make_options())


def ingest_distributed(
    config: Config,
    folder: Path,
    *,
    options: IngestOptions | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> IngestReport:
    model = make_lazy_embedder(config, None)
    options = options or make_options()
    with OpenCollection.open_or_create(config, model.card) as collection:
        index = open_backend(config).get_indexes(config.collection).in_use
        with Coordinator("local:2", config, index, [folder], options) as coordinator:
            return ingest([folder], collection, model, options, on_progress, stop, coordinator)


def comparable(report: IngestReport) -> IngestReport:
    """What two runs over the same files have in common."""
    skipped = sorted(report.skipped, key=lambda skip: skip.path)
    return replace(report, seconds={}, skipped=tuple(skipped))


def read_points(config: Config) -> dict[str, Record]:
    with OpenCollection.open(config) as collection:
        records, following = collection.store.scroll(limit=1000, vectors=True)
    assert following is None
    return {record.id: record for record in records}


def read_state(config: Config) -> Mapping[str, object]:
    """The catalogue, and the thumbnails by name."""
    with OpenCollection.open(config) as collection:
        index, thumbs = collection.index_dir, collection.thumbnail_dir
    with closing(sqlite3.connect(index / "catalogue.db")) as catalogue:
        rows = {
            table: catalogue.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("files", "contents", "roots")
        }
    dates = re.compile(r'"added": "[^"]*"')  # when it was ingested
    rows["contents"] = [
        tuple(dates.sub("", value) if isinstance(value, str) else value for value in row)
        for row in rows["contents"]
    ]
    return {**rows, "thumbs": {path.name: path.read_bytes() for path in thumbs.rglob("*.jpg")}}


def assert_same(ours: Config, theirs: Config) -> None:
    mine, yours = read_points(ours), read_points(theirs)
    assert mine.keys() == yours.keys()
    for id, record in mine.items():
        other = yours[id]
        assert {**record.payload, "added": None} == {**other.payload, "added": None}
        assert record.vectors.keys() == other.vectors.keys()
        for name, vector in record.vectors.items():
            if name == BM25:
                assert vector == other.vectors[name]
            else:
                assert np.dot(vector, other.vectors[name]) > 0.9999
    assert read_state(ours) == read_state(theirs)


class RotatedModel:
    """A model with other vectors than the one that it wraps."""

    def __init__(self, model) -> None:
        self.model = model
        self.card = replace(model.card, name="rotated", fingerprint="rotated-1")

    def embed(self, inputs, role, instruction=None):
        return np.roll(self.model.embed(inputs, role, instruction), 1, axis=1)


def list_worker_processes() -> list[int]:
    """The worker processes that descend from this one."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            if " ".join(process.cmdline()).startswith("ray::Worker"):
                workers.append(process.pid)
    return workers


def test_two_workers_make_the_same_as_one_process(tmp_path, served, images):
    one, two = make_config(tmp_path, served, "one"), make_config(tmp_path, served, "two")
    report = ingest_distributed(two, images)
    assert comparable(report) == comparable(ingest_here(one, images))
    assert (report.added, report.files) == (28, 32)
    assert {skip.reason for skip in report.skipped} == {"truncated", "bad-sidecar"}
    assert_same(two, one)

    # new captions count, and no image is embedded again
    (images / "captions.csv").write_text("file,caption\n0/03.png,a blue field\n0/06.png,sea\n")
    (images / "0/00.txt").unlink()
    (images / "damaged.jpg").unlink()  # what was skipped is tried again
    seen = served.images
    report = ingest_distributed(two, images)
    assert (report.added, report.updated, served.images - seen) == (0, 3, 0)
    ingest_here(one, images)
    assert_same(two, one)

    # nothing has changed: no worker is started, and no cluster is connected to
    index = open_backend(two).get_indexes("default").in_use
    model = make_lazy_embedder(two, None)
    with (
        OpenCollection.open(two) as collection,
        Coordinator(
            "ray://192.0.2.1:10001", REMOTE, index, [images], make_options()
        ) as coordinator,
    ):
        again = ingest([images], collection, model, make_options(), coordinator=coordinator)
    assert (again.added, again.unchanged, again.skipped) == (0, 28, ())


def test_a_killed_worker_costs_nothing_but_time(tmp_path, served, images, capsys):
    one, two = make_config(tmp_path, served, "one"), make_config(tmp_path, served, "two")
    killed: list[int] = []

    def kill(progress: IngestProgress) -> None:
        if progress.stage == "ingest" and not killed:
            killed.append(list_worker_processes()[0])
            os.kill(killed[0], signal.SIGKILL)

    report = ingest_distributed(two, images, on_progress=kill)
    assert killed and capsys.readouterr().out == ""  # Ray would report it on stdout
    assert comparable(report) == comparable(ingest_here(one, images))
    assert_same(two, one)


def test_a_stopped_run_continues_where_it_was(tmp_path, served, images):
    one, two = make_config(tmp_path, served, "one"), make_config(tmp_path, served, "two")
    stop, seen = threading.Event(), served.images

    def stop_at_once(progress: IngestProgress) -> None:
        if progress.stage == "ingest":
            stop.set()

    first = ingest_distributed(
        two, images, options=make_options(3), on_progress=stop_at_once, stop=stop
    )
    assert first.interrupted and 0 < first.added < 28
    second = ingest_distributed(two, images)
    assert not second.interrupted
    assert first.added + second.added == 28
    assert second.unchanged + second.updated == first.added  # a copy may have come with the second
    contents = 24
    assert contents <= served.images - seen <= contents + 2  # both copies may have been embedded
    ingest_here(one, images)
    assert_same(two, one)


def test_workers_build_a_new_index(tmp_path, served, images):
    one, two = make_config(tmp_path, served, "one"), make_config(tmp_path, served, "two")
    ingest_here(one, images)
    model = RotatedModel(make_lazy_embedder(two, None))
    with OpenCollection.open_or_create(replace(two, model=None), model.card) as collection:
        ingest([images], collection, model, make_options())
    seen = served.images
    report = reindex(replace(two, cluster="local:2"), make_lazy_embedder(one, None), make_options())
    assert report.switched and report.points == (28, 28)
    assert served.images > seen
    assert_same(two, one)


def test_a_model_that_does_not_load_ends_the_run(tmp_path, served, images):
    config = make_config(tmp_path, served, "store")
    model = make_lazy_embedder(config, None)
    with OpenCollection.open_or_create(config, model.card) as collection:
        index = open_backend(config).get_indexes("default").in_use
        elsewhere = replace(config, model="http://127.0.0.1:9/v1")
        with (
            Coordinator("local:2", elsewhere, index, [images], make_options()) as coordinator,
            pytest.raises(IndexerError, match=r"127\.0\.0\.1:9"),
        ):
            ingest([images], collection, model, make_options(), coordinator=coordinator)
