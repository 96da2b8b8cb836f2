"""`indexer doctor` finds problems and names the fix."""

from __future__ import annotations

import sqlite3

import pytest


def states(answer: dict) -> dict[str, str]:
    return {check["name"]: check["state"] for check in answer["checks"]}


def test_no_problems(library):
    answer = library.json("doctor")
    assert answer["ok"] is True
    assert states(answer) == {
        "python": "ok",
        "packages": "ok",
        "disk": "ok",
        "collection": "ok",
        "store": "ok",
        "catalogue": "ok",
        "thumbnails": "ok",
        "model": "ok",
    }
    assert "opens; 4 points" in library("doctor").stdout


def test_before_the_first_ingest(indexer):
    answer = indexer.json("doctor")
    assert answer["ok"] is True
    assert states(answer)["collection"] == "note"
    assert not (indexer.folder / "store").exists()


def test_a_catalog_that_does_not_match_the_store(indexed, pictures):
    """Points that the store has lost would count as unchanged forever."""
    from indexer.collections.collection import OpenCollection
    from indexer.config import load_config

    with OpenCollection.open(load_config({"store": str(indexed.folder / "store")})) as opened:
        lost = opened.store.scroll(limit=1)[0][0].id
        opened.store.delete([lost])
    answer = indexed.json("doctor", code=1)
    assert states(answer)["catalogue"] == "problem"
    assert states(answer)["thumbnails"] in ("note", "ok")  # a passage has no thumbnail
    done = indexed("doctor")
    assert done.returncode == 1
    assert "type: indexer doctor --repair" in done.stdout
    assert indexed.json("doctor", "--repair")["ok"] is True
    assert indexed.json("ingest", pictures)["added"] == 1
    assert indexed.json("doctor")["ok"] is True


def test_a_damaged_catalog(indexed, pictures):
    catalogue = indexed.folder / "store" / "default" / "catalogue.db"
    catalogue.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(catalogue).execute("SELECT * FROM files")
    assert states(indexed.json("doctor", code=1))["catalogue"] == "problem"
    indexed.json("doctor", "--repair")
    answer = indexed.json("ingest", pictures)
    assert answer["added"] == 0, "the store still has them"
    assert indexed.json("status")["points"] == 4


def test_thumbnails_of_points_that_are_gone(indexed):
    thumbs = indexed.folder / "store" / "default" / "thumbs" / "00"
    thumbs.mkdir(exist_ok=True)
    orphan = thumbs / "00000000-0000-5000-8000-000000000000.jpg"
    orphan.write_bytes(b"")
    assert states(indexed.json("doctor"))["thumbnails"] == "note"
    indexed.json("doctor", "--repair")
    assert not orphan.exists()
    assert states(indexed.json("doctor"))["thumbnails"] == "ok"


def test_another_model(indexed):
    meta = indexed.folder / "store" / "default" / "collection.json"
    meta.write_text(meta.read_text().replace("colors-1", "colors-0"))
    answer = indexed.json("doctor", code=1, POLYLENS_MODEL="")
    assert states(answer)["model"] == "problem"


def test_a_damaged_collection_file(indexed):
    meta = indexed.folder / "store" / "default" / "collection.json"
    meta.write_text("{")
    answer = indexed.json("doctor", code=1)
    assert states(answer)["collection"] == "problem"
