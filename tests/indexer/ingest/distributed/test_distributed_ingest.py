"""An ingest by workers on a Ray of this machine: the same as by one process, whatever happens."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.images.decode import DecodeLimits
from indexer.cli._open import make_ingest_embedder
from indexer.collection import Collection
from indexer.config import Config, load_config
from indexer.errors import IndexerError
from indexer.ingest.distributed.coordinator import Coordinator
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.places import place_of
from indexer.reindex import reindex
from indexer.schema import BM25
from indexer.types import IngestProgress, IngestReport, Record

REMOTE = Config("http://127.0.0.1:9")
pytestmark = pytest.mark.usefixtures("ray")


@pytest.fixture
def pictures(tmp_path, photo) -> Path:
    """Pictures with captions and copies, documents and what is neither: 28 contents."""
    folder = tmp_path / "pictures"
    for number in range(24):
        photo(folder / f"{number % 3}" / f"{number:02d}.png", number)
    (folder / "0/00.txt").write_text("red house")
    (folder / "1/01.de.txt").write_text("rotes Haus")
    (folder / "2/02.json").write_text("{bad")  # the picture does without it
    for copy, caption in (("1/copy.png", "blue copy"), ("2/copy.png", "green copy")):
        (folder / copy).write_bytes((folder / "0/00.png").read_bytes())
        (folder / copy).with_suffix(".txt").write_text(caption)
    (folder / "captions.csv").write_text("file,caption\n0/03.png,a green field\n")
    for number in range(4):
        (folder / f"note-{number}.md").write_text(f"# Note\n\nWhat was seen on day {number}.\n")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return folder


def settings(tmp_path: Path, served, name: str) -> Config:
    return load_config({"store": str(tmp_path / name), "model": served.url})


def options(batch: int = 5) -> IngestOptions:
    return IngestOptions(DecodeLimits(), batch_size=batch)


def near(config: Config, folder: Path) -> IngestReport:
    model = make_ingest_embedder(config)
    with Collection.open_or_create(config, model.card) as collection:
        return ingest([folder], collection, model, options())


def far(
    config: Config,
    folder: Path,
    *,
    how: IngestOptions | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> IngestReport:
    model = make_ingest_embedder(config)
    how = how or options()
    with Collection.open_or_create(config, model.card) as collection:
        index = place_of(config).indexes(config.collection).in_use
        with Coordinator("local:2", config, index, [folder], how) as fleet:
            return ingest([folder], collection, fleet, how, on_progress, stop, fleet)


def told(report: IngestReport) -> IngestReport:
    """What is the same of two runs over the same files."""
    skipped = sorted(report.skipped, key=lambda skip: skip.path)
    return replace(report, seconds={}, skipped=tuple(skipped))


def points(config: Config) -> dict[str, Record]:
    with Collection.open(config) as collection:
        records, following = collection.store.scroll(limit=1000, vectors=True)
    assert following is None
    return {record.id: record for record in records}


def kept(config: Config) -> Mapping[str, object]:
    """The catalogue, and the thumbnails by name."""
    with Collection.open(config) as collection:
        index, thumbs = collection.index, collection.thumbs
    with closing(sqlite3.connect(index / "catalogue.db")) as catalogue:
        rows = {
            table: catalogue.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("files", "contents", "roots")
        }
    return {**rows, "thumbs": {path.name: path.read_bytes() for path in thumbs.rglob("*.jpg")}}


def assert_same(ours: Config, theirs: Config) -> None:
    mine, yours = points(ours), points(theirs)
    assert mine.keys() == yours.keys()
    for id, record in mine.items():
        other = yours[id]
        assert record.payload == other.payload
        assert record.vectors.keys() == other.vectors.keys()
        for name, vector in record.vectors.items():
            if name == BM25:
                assert vector == other.vectors[name]
            else:
                assert np.dot(vector, other.vectors[name]) > 0.9999
    assert kept(ours) == kept(theirs)


class Turned:
    """A model that gives other vectors than the one that it asks."""

    def __init__(self, model) -> None:
        self.model = model
        self.card = replace(model.card, name="turned", fingerprint="turned-1")

    def embed(self, inputs, role, instruction=None):
        return np.roll(self.model.embed(inputs, role, instruction), 1, axis=1)


def workers() -> list[int]:
    """The workers' processes that came from this one."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        todo += below
        found += [pid for pid in below if _name(pid).startswith("ray::Worker")]
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""


def test_two_workers_make_what_one_process_makes(tmp_path, served, pictures):
    one, two = settings(tmp_path, served, "one"), settings(tmp_path, served, "two")
    report = far(two, pictures)
    assert told(report) == told(near(one, pictures))
    assert (report.added, report.files) == (28, 31)
    assert {skip.reason for skip in report.skipped} == {"truncated", "bad-sidecar"}
    assert_same(two, one)

    # new captions are heard, and no picture is looked at again
    (pictures / "captions.csv").write_text("file,caption\n0/03.png,a blue field\n0/06.png,sea\n")
    (pictures / "0/00.txt").unlink()
    (pictures / "damaged.jpg").unlink()  # what is skipped is tried again
    seen = served.pictures
    report = far(two, pictures)
    assert (report.added, report.updated, served.pictures - seen) == (0, 3, 0)
    near(one, pictures)
    assert_same(two, one)

    # nothing has changed: no worker is started, and nobody is connected to
    index = place_of(two).indexes("default").in_use
    with (
        Collection.open(two) as collection,
        Coordinator("ray://192.0.2.1:10001", REMOTE, index, [pictures], options()) as nobody,
    ):
        again = ingest([pictures], collection, nobody, options(), coordinator=nobody)
    assert (again.added, again.unchanged, again.skipped) == (0, 28, ())


def test_a_killed_worker_costs_nothing_but_time(tmp_path, served, pictures, capsys):
    one, two = settings(tmp_path, served, "one"), settings(tmp_path, served, "two")
    killed: list[int] = []

    def kill(progress: IngestProgress) -> None:
        if progress.stage == "ingest" and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    report = far(two, pictures, on_progress=kill)
    assert killed and capsys.readouterr().out == ""  # Ray would tell of it on our stdout
    assert told(report) == told(near(one, pictures))
    assert_same(two, one)


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, served, pictures):
    one, two = settings(tmp_path, served, "one"), settings(tmp_path, served, "two")
    stop, seen = threading.Event(), served.pictures

    def at_once(progress: IngestProgress) -> None:
        if progress.stage == "ingest":
            stop.set()

    first = far(two, pictures, how=options(3), on_progress=at_once, stop=stop)
    assert first.interrupted and 0 < first.added < 28
    second = far(two, pictures)
    assert not second.interrupted
    assert first.added + second.added == 28
    assert second.unchanged + second.updated == first.added  # a copy may have come with the second
    contents = 24
    assert contents <= served.pictures - seen <= contents + 2  # both copies may have been embedded
    near(one, pictures)
    assert_same(two, one)


def test_workers_make_a_new_index_too(tmp_path, served, pictures):
    one, two = settings(tmp_path, served, "one"), settings(tmp_path, served, "two")
    near(one, pictures)
    model = Turned(make_ingest_embedder(two))
    with Collection.open_or_create(replace(two, model=None), model.card) as collection:
        ingest([pictures], collection, model, options())
    seen = served.pictures
    report = reindex(replace(two, cluster="local:2"), make_ingest_embedder(one), options())
    assert report.switched and report.points == (28, 28)
    assert served.pictures > seen
    assert_same(two, one)


def test_a_model_that_does_not_load_ends_the_run(tmp_path, served, pictures):
    config = settings(tmp_path, served, "store")
    model = make_ingest_embedder(config)
    with Collection.open_or_create(config, model.card) as collection:
        index = place_of(config).indexes("default").in_use
        elsewhere = replace(config, model="http://127.0.0.1:9/v1")
        with (
            Coordinator("local:2", elsewhere, index, [pictures], options()) as fleet,
            pytest.raises(IndexerError, match=r"127\.0\.0\.1:9"),
        ):
            ingest([pictures], collection, fleet, options(), coordinator=fleet)
