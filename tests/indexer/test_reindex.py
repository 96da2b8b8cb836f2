"""Another model for a collection: built beside it, checked, switched to in one step, and back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.errors import EmbedderError
from indexer.collections import open_backend
from indexer.collections.collection import (
    OpenCollection,
    list_collections,
    lock_for_writing,
    summarize,
)
from indexer.collections.schema import IMAGE
from indexer.errors import CollectionError, DiskFullError, IndexerError, StoreBusyError
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.reindex import reindex
from indexer.search.searcher import Searcher
from indexer.types import Part, Query
from tests.programs import ROOT

pytestmark = pytest.mark.usefixtures("in_process")
COLORS = ("red", "green", "blue", "white")


class Shades:
    """The colors turned by one number: of one length, and another space. Mixed with the colors, a
    search for red finds green."""

    def __init__(self, colors, name: str = "shades", during: Callable[[], None] | None = None):
        self.colors, self.during = colors, during
        self.card = replace(colors.card, name=name, fingerprint=f"{name}-1")

    def embed(self, inputs, role, instruction=None):
        if self.during:
            self.during()
        return np.roll(self.colors.embed(inputs, role, instruction), 1, axis=1)


@pytest.fixture
def shades(colors) -> Shades:
    return Shades(colors)


@pytest.fixture
def folder(tmp_path, photo) -> Path:
    """A picture of each color with a caption, and a note."""
    for color in COLORS:
        photo(tmp_path / "pictures" / f"{color}.png", color)
        (tmp_path / "pictures" / f"{color}.txt").write_text(f"a {color} wall")
    (tmp_path / "pictures" / "note.md").write_text("Snow on the hill.\n")
    return tmp_path / "pictures"


@pytest.fixture
def path(config, colors, folder) -> Path:
    """The folder of the collection, ingested with the colors."""
    with OpenCollection.open_or_create(config, colors.card) as collection:
        ingest([folder], collection, colors)
        return collection.path


def best(config, embedder, words: str = "red") -> str:
    with OpenCollection.open(config) as collection:
        return found(Searcher(collection, lambda: embedder), words)


def found(searcher: Searcher, words: str = "red") -> str:
    return searcher.search(Query((Part(text=words),), limit=1)).hits[0].payload["name"]


def meta(path: Path) -> dict:
    return json.loads((path / "collection.json").read_text())


def test_reindex_with_another_model(config, path, colors, shades):
    assert reindex(config, colors) is None, "it has that model already"
    assert not (path / "indexes").exists()
    before = summarize(config)
    thumbs = {file: file.stat().st_mtime_ns for file in (path / "thumbs").glob("*/*.jpg")}
    (path / "feedback.jsonl").write_text('{"vote": 1}\n')
    report = reindex(config, shades)
    assert report.switched
    assert report.points == (5, 5)
    assert report.checked == 5
    assert (report.ingest.added, report.ingest.skipped) == (5, ())
    after = summarize(config)
    assert (after.card, after.old.card, after.building) == (shades.card, colors.card, None)
    assert (after.points, after.name) == (5, before.name)
    assert after.index.parent == path / "indexes"
    assert best(config, shades) == "red.png"
    with OpenCollection.open(config) as collection:
        record = next(r for r in collection.store.scroll(vectors=True)[0] if IMAGE in r.vectors)
        assert record.payload["captions"]
        assert collection.thumbnail_dir == path / "thumbs"
    assert {f: f.stat().st_mtime_ns for f in (path / "thumbs").glob("*/*.jpg")} == thumbs
    assert (path / "feedback.jsonl").read_text() == '{"vote": 1}\n'
    assert [found.name for found in list_collections(config)] == ["default"]


def test_an_ingest_goes_on_in_the_new_index(config, path, shades, folder, photo):
    reindex(config, shades)
    photo(folder / "black.png", "black")
    with OpenCollection.open_or_create(config, shades.card) as collection:
        report = ingest([folder], collection, shades)
    assert (report.added, report.unchanged) == (1, 5)
    assert meta(path)["ingested"]
    assert (best(config, shades, "black"), summarize(config).points) == ("black.png", 6)


def test_rollback_and_back_again(config, path, colors, shades):
    with pytest.raises(CollectionError, match="no old index"):
        open_backend(config).rollback("default")
    created = summarize(config).created
    reindex(config, shades)
    assert meta(path)["format"] == 3, "a program that knows one index alone must not open it"
    with lock_for_writing(path):
        assert open_backend(config).rollback("default") == colors.card
    assert (summarize(config).card, summarize(config).old.card) == (colors.card, shades.card)
    assert summarize(config).created == created
    assert (meta(path)["format"], best(config, colors)) == (3, "red.png")
    with pytest.raises(CollectionError, match="reindex --rollback"):
        reindex(config, shades)
    open_backend(config).rollback("default")
    assert best(config, shades) == "red.png"


def test_forget(config, path, colors, shades):
    reindex(config, shades)
    assert open_backend(config).delete_inactive("default") == [colors.card]
    assert not (path / "shard").exists()
    assert not list(path.glob("catalogue.db*"))
    assert best(config, shades) == "red.png"
    first = summarize(config).index
    hues = Shades(colors, "hues")
    assert reindex(config, hues).switched
    assert open_backend(config).delete_inactive("default") == [shades.card]
    assert [summarize(config).index] == list((path / "indexes").iterdir()) != [first]
    assert open_backend(config).delete_inactive("default") == []
    reindex(config, shades)
    reindex(config, Shades(colors, "tints"))
    assert len(list((path / "indexes").iterdir())) == 2, "the one before the old one is deleted"
    open_backend(config).rollback("default")
    assert best(config, shades) == "red.png"


@pytest.mark.store_server
def test_a_reader_of_a_forgotten_index_gets_an_error(config, path, colors, shades):
    """Neither index may be created again, empty, for a program that still reads it."""
    for model in (shades, Shades(colors, "hues")):
        with OpenCollection.open(config) as stale:
            assert stale.store.count() == 5
            reindex(config, model)
            open_backend(config).delete_inactive("default")
            with pytest.raises(CollectionError, match="re-indexed, open it again"):
                for _ in range(100):  # until the shard server has noticed
                    stale.store.close()
                    time.sleep(0.1)
                    assert stale.store.count() == 5
    assert not (path / "shard").exists()


def test_an_interrupted_reindex_continues(config, path, colors, shades, folder, photo):
    for i in range(20):
        photo(folder / f"{i}.png", i)
    with OpenCollection.open(config) as collection:
        ingest([folder], collection, colors)
    stop = threading.Event()
    slow = Shades(colors, during=stop.set)
    report = reindex(config, slow, IngestOptions(batch_size=2, decode_threads=1), stop=stop)
    assert (report.switched, report.ingest.interrupted) == (False, True)
    begun = summarize(config).building
    assert begun.card == shades.card
    assert 0 < report.points[1] < 25
    assert best(config, colors) == "red.png"
    report = reindex(config, shades)
    assert report.ingest.unchanged > 0
    assert report.ingest.added + report.ingest.unchanged == 25
    assert summarize(config).index == begun.folder


def test_an_interruption_of_the_check(config, path, colors, shades):
    stop = threading.Event()
    report = reindex(
        config, shades, on_progress=lambda now: now.stage == "check" and stop.set(), stop=stop
    )
    assert (report.switched, report.ingest.interrupted, report.points) == (False, True, (5, 5))
    assert best(config, colors) == "red.png"
    assert reindex(config, shades).ingest.unchanged == 5


def test_a_half_built_index_of_another_model_is_refused(config, path, colors):
    stop = threading.Event()
    reindex(config, Shades(colors, during=stop.set), IngestOptions(batch_size=2), stop=stop)
    with pytest.raises(CollectionError, match=r"shades .* half built.*--model shades.*--forget"):
        reindex(config, Shades(colors, "hues"))
    begun = summarize(config).building.folder
    assert [card.name for card in open_backend(config).delete_inactive("default")] == ["shades"]
    begun.mkdir()
    (begun / "collection.json").write_text("{")  # damaged, it is no hindrance
    assert summarize(config).building is None
    assert reindex(config, Shades(colors, "hues")).switched
    open_backend(config).delete_inactive("default")
    assert not begun.exists()


@pytest.mark.store_server
def test_writers_wait_and_searches_do_not(config, path, colors, folder):
    with lock_for_writing(path), pytest.raises(StoreBusyError, match="another ingest"):
        reindex(config, Shades(colors))
    met = []

    def during() -> None:
        with (
            OpenCollection.open(config) as collection,
            pytest.raises(StoreBusyError, match="reindex"),
        ):
            ingest([folder], collection, colors)
        met.append(best(config, colors))

    assert reindex(config, Shades(colors, during=during)).switched
    assert set(met) == {"red.png"}


@pytest.mark.store_server
def test_an_ingest_into_an_index_that_was_replaced(config, path, colors, shades, folder):
    with OpenCollection.open(config) as stale:
        reindex(config, shades)
        with pytest.raises(CollectionError, match="re-indexed by another process"):
            ingest([folder], stale, colors)


def test_a_missing_folder_stops_the_switch(config, path, shades, folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(CollectionError, match=r"pictures \(5 files\).*--allow-missing"):
        reindex(config, shades)
    report = reindex(config, shades, allow_missing=True)
    assert (report.switched, report.points) == (True, (5, 0))
    assert len(report.diff.vanished) == 5


def test_files_that_are_gone_or_changed(config, path, shades, folder, photo):
    (folder / "red.png").unlink()
    photo(folder / "blue.png", "black")
    report = reindex(config, shades)
    assert report.switched
    assert [Path(p).name for p in report.diff.vanished] == ["red.png"]
    assert [Path(p).name for p in report.diff.changed] == ["blue.png"]
    assert best(config, shades, "black") == "blue.png"


def test_a_file_that_would_be_lost_stops_the_switch(config, path, colors, shades, folder):
    (folder / "red.png").write_bytes(b"no picture any more")
    report = reindex(config, shades)
    assert not report.switched
    assert [(Path(s.path).name, s.reason) for s in report.diff.lost] == [("red.png", "corrupt")]
    assert best(config, colors) == "red.png"
    again = reindex(config, shades, allow_missing=True)
    assert (again.switched, again.points, again.ingest.unchanged) == (True, (5, 4), 4)


def test_a_model_that_fails_on_a_file_stops_the_switch(config, path, colors, shades):
    class Picky(Shades):
        def embed(self, inputs, role, instruction=None):
            if any(i.images and i.images[0].getpixel((5, 5)) == (255, 0, 0) for i in inputs):
                raise EmbedderError("red hurts")
            return super().embed(inputs, role, instruction)

    report = reindex(config, Picky(colors))
    assert [(s.reason, s.detail) for s in report.diff.lost] == [("embed-failed", "red hurts")]
    assert not report.switched
    assert reindex(config, shades).switched, "the same model, mended"


def test_captions_of_a_table_that_was_named(config, colors, shades, folder, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("file,caption\nred.png,a crimson door\n")
    named = IngestOptions(manifest=table)
    with OpenCollection.open_or_create(config, colors.card) as collection:
        ingest([folder], collection, colors, named)
    report = reindex(config, shades)
    assert not report.switched
    assert [Path(p).name for p in report.diff.lost_captions] == ["red.png"]
    assert reindex(config, shades, named).switched
    with OpenCollection.open(config) as collection:
        texts = [c["text"] for r in collection.store.scroll()[0] for c in r.payload["captions"]]
    assert "a crimson door" in texts


def test_wrong_vectors_stop_the_switch(config, path, colors):
    """A model that changes its mind, as one on a broken device does."""
    drift = [0]

    class Drifting(Shades):
        def embed(self, inputs, role, instruction=None):
            drift[0] += 7
            rows = super().embed(inputs, role, instruction)
            return np.roll(rows, drift[0], axis=1) * np.where(np.arange(48) % 2, 1, -1)[None]

    with pytest.raises(CollectionError, match=r"cosine of .*old one stays active"):
        reindex(config, Drifting(colors))
    assert best(config, colors) == "red.png"


def test_what_is_refused(config, path, colors, shades, monkeypatch):
    texts = Shades(colors, "texts")
    texts.card = replace(texts.card, modalities=("text",))
    with pytest.raises(CollectionError, match="embeds only text"):
        reindex(config, texts)
    with pytest.raises(CollectionError, match="indexer ingest FOLDER"):
        reindex(replace(config, collection="other"), shades)
    for file in path.glob("catalogue.db*"):
        file.unlink()
    with pytest.raises(CollectionError, match="no longer knows its folders"):
        reindex(config, shades)
    few = shutil._ntuple_diskusage(10**9, 10**9, 1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: few)
    with pytest.raises(DiskFullError, match="only 1 MB are free"):
        reindex(config, shades)
    assert not (path / "indexes").exists()


STEPS = {  # name: (where kill -9 comes, whether the new index is in use afterwards)
    "begin": ("indexer.collections.local.write_metadata", False),
    "compare": ("indexer.reindex.compare_indexes", False),
    "switch": ("indexer.collections.local.LocalBackend.switch", False),
    "sweep": ("indexer.collections.local._delete_first_index", True),
}
DRIVER = """
import os, pkgutil, sys
from indexer.config import load_config
from indexer.reindex import reindex
from tests.embedders import ColorEmbedder
from tests.indexer.test_reindex import Shades

store, name, where = sys.argv[1:]
place, _, function = where.rpartition(".")
if where:
    setattr(pkgutil.resolve_name(place), function, lambda *_, **__: os.kill(os.getpid(), 9))
report = reindex(load_config({"store": store}), Shades(ColorEmbedder(), name))
print("switched" if report.switched else "not")
"""


def run(config, name: str, where: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DRIVER, config.store, name, where]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.store_server
@pytest.mark.parametrize("step", STEPS)
def test_kill_at_each_step(config, path, colors, shades, step):
    where, switched = STEPS[step]
    name = "shades"
    if step == "sweep":  # there is something to sweep: the first index, before the old one
        assert reindex(config, Shades(colors, "hues")).switched
    assert run(config, name, where).returncode == -9
    assert (summarize(config).card == shades.card) == switched
    model = shades if switched else colors
    assert best(config, model) == "red.png"
    report = reindex(config, shades)
    assert (report is None) == switched
    assert summarize(config).card == shades.card
    assert best(config, shades) == "red.png"
    open_backend(config).delete_inactive("default")
    assert [summarize(config).index] == list((path / "indexes").iterdir())
    assert not (path / "shard").exists()


SEARCHER = """
import sys
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.search.searcher import Searcher
from indexer.types import Part, Query
from tests.embedders import ColorEmbedder

model = ColorEmbedder()
with OpenCollection.open(load_config({"store": sys.argv[1]})) as collection:
    searcher = Searcher(collection, lambda: model)
    for line in sys.stdin:
        hits = searcher.search(Query((Part(text=line.strip()),), limit=1)).hits
        print(hits[0].payload["name"], flush=True)
"""


@pytest.mark.store_server
def test_an_open_searcher_keeps_working(config, path, colors, shades):
    with subprocess.Popen(
        [sys.executable, "-c", SEARCHER, config.store],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def ask() -> str:
            process.stdin.write("red\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        answers = [ask()]
        shades.during = lambda: answers.append(ask())
        reindex(config, shades)
        answers.append(ask())
        assert set(answers) == {"red.png"}
        assert len(answers) > 3
        assert best(config, shades) == "red.png"
        process.stdin.close()


def test_a_collection_without_files(config, colors, shades):
    with OpenCollection.open_or_create(config, colors.card):
        pass
    assert reindex(config, shades).points == (0, 0)
    assert summarize(config).card == shades.card


def test_a_model_error_changes_nothing(config, path, colors, shades):
    class Broken(Shades):
        def embed(self, inputs, role, instruction=None):
            raise IndexerError("no weights here")

    with pytest.raises(IndexerError, match="no weights"):
        reindex(config, Broken(colors))
    assert best(config, colors) == "red.png"
    assert reindex(config, shades).switched


def test_every_tenant_of_a_collection_gets_the_new_model(config, colors, shades, folder, photo):
    other = photo(folder.parent / "others" / "black.png", "black").parent
    shares = {"acme": [folder], "bolt": [folder, other], None: [other]}
    for tenant, folders in shares.items():
        mine = replace(config, tenant=tenant)
        with OpenCollection.open_or_create(mine, colors.card) as collection:
            ingest(folders, collection, colors)
    with pytest.raises(CollectionError, match="without --tenant"):
        reindex(replace(config, tenant="acme"), shades)
    report = reindex(config, shades)
    assert (report.switched, report.points) == (True, (12, 12))
    assert report.ingest.added == 12
    for tenant, count in {"acme": 5, "bolt": 6, None: 12}.items():
        mine = replace(config, tenant=tenant)
        assert best(mine, shades, "black" if tenant is None else "red").startswith(("red", "black"))
        with OpenCollection.open(mine) as collection:
            assert collection.store.count() == count
    with OpenCollection.open_or_create(replace(config, tenant="acme"), shades.card) as collection:
        assert ingest([folder], collection, shades).unchanged == 5
