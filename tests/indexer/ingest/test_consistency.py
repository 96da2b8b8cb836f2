"""An ingest finds what the store has lost, whatever mix of old and new files it is left with."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.collections.collection import OpenCollection
from indexer.collections.schema import TEXT, make_schema
from indexer.config import load_config
from indexer.errors import DamagedError
from indexer.ingest.pipeline import ingest
from indexer.ingest.prune import prune
from indexer.ingest.types import IngestOptions
from indexer.paths import hash_content, make_point_ids
from indexer.stores.base import iterate_records
from tests import in_process_store
from tests.embedders import ColorEmbedder


def copy_sparse(source: Path, target: Path) -> None:
    """The files of a shard are mostly holes, which Python would fill."""
    subprocess.run(["cp", "-r", "--sparse=always", source, target], check=True)


@pytest.fixture
def family(config, tmp_path, photo, monkeypatch):
    """A collection of pictures, a captioned one and a document, in two versions.

    `save(name)` copies the closed collection, `load(part, name)` brings a part of a copy back, and
    `check()` demands after an ingest that the collection is what the folder holds.
    """
    in_process_store.install(monkeypatch)
    folder, saved = tmp_path / "pictures", tmp_path / "saved"
    collection = tmp_path / "store" / config.collection
    for number in range(6):
        photo(folder / f"{number}.png", number, size=(40, 30))
    (folder / "0.txt").write_text("red")
    (folder / "note.md").write_text("# A\n\nblue\n\n# B\n\ngreen\n")

    def run(**options):
        model = ColorEmbedder()
        with OpenCollection.open_or_create(config, model.card) as opened:
            return ingest([folder], opened, model, IngestOptions(batch_size=2, **options)), model

    def save(name):
        saved.mkdir(exist_ok=True)
        copy_sparse(collection, saved / name)

    def load(part, name):
        """`part` is the shard with its state, or the catalog; None as `name` deletes it."""
        for file in (*collection.glob("shard*"), *collection.glob("catalogue.db*")):
            if file.name.startswith(part):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        for file in (saved / name).glob(f"{part}*") if name else ():
            copy_sparse(file, collection / file.name)

    def check(**options):
        report, _ = run(**options)
        assert not report.failed and not report.lost
        again, idle = run()
        assert not idle.calls and again.unchanged == again.files - again.duplicates
        assert again.recovered == 0
        with OpenCollection.open(config) as opened:
            records = {record.id: record for record in iterate_records(opened.store, vectors=True)}
        expected = set()
        for path in folder.iterdir():
            content = hash_content(path.read_bytes())
            if path.suffix == ".png":
                (id,) = make_point_ids(content)
                caption = path.with_suffix(".txt")
                texts = [c["text"] for c in records[id].payload["captions"]]
                assert texts == ([caption.read_text()] if caption.exists() else []), path
                assert (TEXT in records[id].vectors) == caption.exists()
                assert "image" in records[id].vectors
                assert str(path) in records[id].payload["paths"]
                expected.add(id)
            elif path.suffix == ".md":
                expected.update(make_point_ids(content, len(records) and _chunks(records, content)))
        assert set(records) == expected
        return report

    return SimpleNamespace(
        folder=folder, config=config, run=run, save=save, load=load, check=check, photo=photo
    )


def _chunks(records, content) -> int:
    return next(r.payload["passages"] for r in records.values() if r.payload["content"] == content)


@pytest.fixture
def two_versions(family):
    """Between `old` and `new`, files were added, deleted, moved, and captioned."""
    family.run()
    family.save("old")
    for number in range(6, 10):
        family.photo(family.folder / f"{number}.png", number, size=(40, 30))
    (family.folder / "1.png").unlink()
    (family.folder / "2.png").rename(family.folder / "moved.png")
    (family.folder / "0.txt").write_text("green")
    (family.folder / "3.txt").write_text("blue")
    family.run(prune=True)
    family.save("new")
    return family


def test_copies_of_the_store_and_the_catalog_of_any_age_heal(two_versions):
    for shard, catalog in product(["old", "new", None], repeat=2):
        two_versions.load("shard", shard)
        two_versions.load("catalogue", catalog)
        if catalog is None:  # no run knows yet that the deleted picture was of this folder
            two_versions.run()
        report = two_versions.check(prune=True)
        if (shard, catalog) == ("old", "new"):
            assert report.recovered == 7, "four new pictures, one moved, two with new captions"
        elif shard == catalog:
            assert report.recovered == 0


@pytest.mark.parametrize(("shard", "state"), [("new", "old"), ("old", "new")])
def test_a_shard_and_a_state_file_of_different_ages_heal(two_versions, shard, state):
    two_versions.load("shard", shard)
    two_versions.load("shard.json", state)
    assert two_versions.check(prune=True).recovered == (7 if shard == "old" else 0)


def test_only_an_ingest_accepts_a_shard_that_has_lost_sound_points(two_versions, caplog):
    two_versions.load("shard", "old")
    two_versions.load("shard.json", "new")
    with pytest.raises(DamagedError, match="indexer doctor --repair"):
        OpenCollection.open(two_versions.config)
    two_versions.run()
    assert "points were saved" in caplog.text
    OpenCollection.open(two_versions.config).close()


def test_points_that_were_lost_are_embedded_again_in_the_same_run(family):
    """As many of them may be lost as new ones have come: the counts say nothing."""
    family.run()
    with OpenCollection.open(family.config) as opened:
        records = list(iterate_records(opened.store, vectors=True))
        images = [r for r in records if r.payload["kind"] == "image"]
        opened.store.delete([r.id for r in images[:2]])
        strangers = [
            replace(r, id=make_point_ids(f"{n}" * 64)[0], payload={**r.payload, "content": f"{n}"})
            for n, r in enumerate(images[2:4])
        ]
        opened.store.upsert(strangers)
    report, model = family.run()
    assert (report.recovered, report.added, sum(model.calls)) == (2, 2, 2)
    with OpenCollection.open(family.config) as opened:
        assert len(opened.store.retrieve([r.id for r in images])) == len(images)
        opened.store.delete([r.id for r in strangers])
    family.check()


def test_files_that_cannot_be_read_again_are_named(family, tmp_path):
    """The run is over another folder than that of the lost points; a later one heals them."""
    family.run()
    other = tmp_path / "other"
    family.photo(other / "a.png", 20)
    with OpenCollection.open(family.config) as opened:
        lost = next(r for r in iterate_records(opened.store) if r.payload["name"] == "4.png")
        opened.store.delete([lost.id])
        report = ingest([other], opened, ColorEmbedder())
    assert (report.added, report.recovered) == (1, 0)
    assert report.lost == (str(family.folder / "4.png"),)
    shutil.rmtree(other)
    report, _ = family.run()
    assert (report.added, report.lost) == (1, ())


def test_deleted_points_that_are_back_can_be_pruned(two_versions):
    """The store is the one before the prune; the catalog does not know the deleted picture."""
    two_versions.load("shard", "old")
    two_versions.run()
    with OpenCollection.open(two_versions.config) as opened:
        assert prune(opened, ColorEmbedder).paths == (str(two_versions.folder / "1.png"),)
    two_versions.check()


def test_points_of_other_origin_stay_and_cost_one_full_check(family, monkeypatch):
    """Merged points are in no catalog, and their files may be on another machine."""
    family.run()
    with OpenCollection.open(family.config) as opened:
        (record,) = opened.store.scroll(limit=1, vectors=True)[0]
        payload = {**record.payload, "content": "f" * 64, "paths": ["/elsewhere/a.png"]}
        merged = replace(record, id=make_point_ids("f" * 64)[0], payload=payload)
        opened.store.upsert([merged])
    counted = []
    count = in_process_store.InProcessStore.count
    monkeypatch.setattr(
        in_process_store.InProcessStore,
        "count",
        lambda *arguments: counted.append(arguments) or count(*arguments),
    )
    for expected in (True, False):
        counted.clear()
        report, model = family.run(prune=True)
        assert (report.unchanged, report.removed, model.calls) == (7, 0, [])
        assert (len(counted) > 1) == expected
    with OpenCollection.open(family.config) as opened:
        assert opened.store.retrieve([merged.id])


def test_a_dry_run_reports_the_loss_and_keeps_the_catalog(family):
    family.run()
    family.save("all")
    family.load("shard", None)
    report, model = family.run(dry_run=True)
    assert (report.added, model.calls) == (7, [])
    family.check()


def test_a_catalog_of_an_older_version_opens_and_heals(family):
    """It has neither the last writes nor the number of other points."""
    import sqlite3

    family.run()
    catalog = family.folder.parent / "store" / family.config.collection / "catalogue.db"
    with sqlite3.connect(catalog) as db:
        db.executescript("DROP TABLE recent; DROP TABLE numbers")
    with OpenCollection.open(family.config) as opened:
        lost = next(r for r in iterate_records(opened.store) if r.payload["name"] == "4.png")
        opened.store.delete([lost.id])
    assert family.check().recovered == 1


def test_numbers_that_the_store_rounds_are_not_taken_for_lost_writes(family):
    """The embedded store may return a number that differs in its last bit."""
    rows = [f'{{"file_name": "{n}.png", "score": {1 / (7 + n)!r}}}' for n in range(6)]
    (family.folder / "metadata.jsonl").write_text("\n".join(rows))
    family.run()
    report, model = family.run()
    assert report.recovered == 0
    assert not model.calls


def test_points_that_a_server_has_lost_are_written_again(http_store, tmp_path, photo):
    """They were acknowledged by a node that is gone; other machines have written meanwhile."""
    for number in range(4):
        photo(tmp_path / "pictures" / f"{number}.png", number, size=(40, 30))
    model, config = ColorEmbedder(), load_config(http_store)
    with OpenCollection.open_or_create(config, model.card) as opened:
        ingest([tmp_path / "pictures"], opened, model)
        records = list(iterate_records(opened.store, vectors=True))
        opened.store.delete([record.id for record in records[:2]])
        payload = {**records[2].payload, "content": "f" * 64, "paths": ["/elsewhere/a.png"]}
        strangers = [
            replace(records[2], id=make_point_ids(f"{n}")[0], payload=payload) for n in (0, 1)
        ]
        opened.store.upsert(strangers)
        report = ingest([tmp_path / "pictures"], opened, model)
        assert (report.recovered, report.added, report.unchanged) == (2, 2, 2)
        assert opened.store.count() == 6
        again = ingest([tmp_path / "pictures"], opened, model, IngestOptions(prune=True))
        assert (again.recovered, again.unchanged, again.removed) == (0, 4, 0)
        assert opened.store.count() == 6


def test_a_new_shard_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """The engine leaves some of its first files unsynced."""
    from indexer.stores.edge.shard import Shard

    synced, fsync = set(), os.fsync

    def log_fsync(descriptor):
        synced.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", log_fsync)
    Shard(tmp_path, make_schema(48)).close()
    created = {path.relative_to(tmp_path / "shard") for path in tmp_path.glob("shard/*/*/version*")}
    assert created
    assert {tmp_path / "shard.new" / path for path in created} <= synced
    assert tmp_path in synced
