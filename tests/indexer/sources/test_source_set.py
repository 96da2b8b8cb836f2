"""Several sources in one collection: dispatch, pruning, re-indexing, other file systems."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from embedder.images.decode import DecodeLimits
from indexer.errors import IndexerError
from indexer.ingest.prune import prune
from indexer.reindex.checks import compare_indexes
from indexer.sources import SourceSet
from tests.embedders import ColorEmbedder


@pytest.fixture
def filled(memory, folder, make_image, make_tar):
    """A folder, an archive in it, a prefix in memory."""
    (folder / "near.png").write_bytes(make_image(1))
    (folder / "x.tar").write_bytes(make_tar({"in.png": make_image(2)}))
    memory.pipe("/far/a/1.png", make_image(3))
    memory.pipe("/far/a/1.de.txt", b"eins")
    memory.pipe("/far/2.heic", b"broken")
    return [folder, folder / "x.tar", "memory://far"]


def test_all_in_one_run(filled, run, stored):
    assert run(*filled) == {"added": 3, "skipped": [("2.heic", "corrupt")]}
    assert stored()["1.png"]["paths"] == ["memory://far/a/1.png"]
    assert stored()["1.png"]["languages"] == ["de"]
    assert run(*filled) == {"unchanged": 3, "skipped": [("2.heic", "corrupt")]}


def test_pruning_checks_local_files_only(filled, folder, run, collection):
    run(*filled)
    (folder / "near.png").unlink()
    (folder / "x.tar").unlink()
    (folder / "still.md").write_text("here")
    report = prune(collection, ColorEmbedder)
    assert (report.removed, report.not_checked, report.missing_roots) == (
        1,
        2,
        (f"{folder}/x.tar",),
    )
    assert collection.store.count() == 2


def test_a_run_over_one_source_does_not_touch_the_others(filled, folder, run, collection, memory):
    run(*filled)
    memory.rm("/far/a/1.png")
    assert run(folder, prune=True) == {"unchanged": 1}
    assert collection.store.count() == 3
    assert run("memory://far", prune=True)["removed"] == 1


def test_a_listing_that_fails_removes_nothing(filled, run, collection, memory, monkeypatch):
    run(*filled)

    def ls(path, **options):
        if path.endswith("/a"):
            raise OSError("the line is cut")
        return [{"name": "/far/a", "type": "directory", "size": 0}]

    monkeypatch.setattr(memory, "ls", ls)
    with pytest.raises(IndexerError, match="memory://far: the line is cut"):
        run("memory://far", prune=True)
    assert collection.store.count() == 3


def test_an_image_that_moves_from_a_folder_to_an_archive(folder, run, stored, make_image, make_tar):
    (folder / "one.png").write_bytes(make_image(1))
    run(folder)
    (folder / "one.png").unlink()
    (folder / "x.tar").write_bytes(make_tar({"one.png": make_image(1)}))
    assert run(folder / "x.tar") == {"moved": 1}
    assert stored()["one.png"]["paths"] == [f"{folder}/x.tar#one.png"]


def test_each_path_is_read_from_its_own_source(filled, folder, make_image):
    sources = pickle.loads(pickle.dumps(SourceSet.open([str(f) for f in filled])))
    assert sources.roots == sorted([str(folder), f"{folder}/x.tar", "memory://far"])
    assert sources.read(f"{folder}/near.png", DecodeLimits()) == make_image(1)
    assert sources.read(f"{folder}/x.tar#in.png", DecodeLimits()) == make_image(2)
    assert sources.load_captions("memory://far/a/1.png").captions[0].text == "eins"
    assert sources.source_for("memory://farther/1.png") is None
    assert [s.root for s in SourceSet.open(["memory://far", "memory://far/a"])] == ["memory://far"]


def test_what_a_new_index_misses(filled, run, collection, config, colors, memory):
    """Of what is not on the disk the ingest tells: left out, or gone."""
    from indexer.collections.collection import OpenCollection
    from indexer.ingest.pipeline import ingest

    run(*filled)
    memory.rm("/far/a/1.png")
    other = replace(config, collection="other")
    with OpenCollection.open_or_create(other, colors.card) as new:
        report = ingest(filled[:1] + filled[2:], new, colors)
        losses = compare_indexes(collection, new, report.skipped)
    assert set(losses.vanished) == {"memory://far/a/1.png", f"{filled[1]}#in.png"}
    assert losses.lost == ()


def test_a_named_manifest_applies_to_all_sources(filled, folder, tmp_path, run, stored):
    (tmp_path / "table.csv").write_text(
        "file,caption\nnear.png,one\nin.png,two\nmemory://far/a/1.png,three\n"
    )
    run(*filled, manifest=tmp_path / "table.csv")
    captions = {name: p["captions"][-1]["text"] for name, p in stored().items()}
    assert captions == {"near.png": "one", "in.png": "two", "1.png": "three"}
