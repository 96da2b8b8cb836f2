"""Selected items as a ZIP archive or a table."""

from __future__ import annotations

import csv
import re
import shutil
import zipfile
from base64 import b64decode
from io import BytesIO, StringIO
from pathlib import Path, PurePath

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app import downloads
from app.services import open_searcher
from indexer.types import Record
from tests.programs import run_program

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def client(app_store) -> TestClient:
    return TestClient(Starlette(routes=list(downloads.build_routes())))


def find_ids(*names: str) -> list[str]:
    records, _ = open_searcher("default").collection.store.scroll(limit=1000)
    ids = {record.payload["name"]: record.id for record in records}
    return [ids[name] for name in names]


def ask(client, ids: object, form: object = "zip", collection: str = "default"):
    address = {"c": collection}
    return client.post("/api/downloads", params=address, json={"ids": ids, "form": form})


def download(client, ids: list[str], form: str = "zip"):
    answer = client.get("/" + ask(client, ids, form).json()["url"])
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].endswith(f'.{form}"')
    return answer


def test_an_archive_has_the_files_as_they_are(client):
    names = ["chelsea.jpg", "black-cat.webp"]
    answer = download(client, find_ids(*names))
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        assert archive.namelist() == names
        assert archive.testzip() is None
        for name in names:
            assert archive.read(name) == (SAMPLES / "animals" / name).read_bytes()


def test_a_text_is_in_the_archive_and_what_is_gone_is_listed(client, monkeypatch):
    original = downloads.read_original
    cat, note = find_ids("chelsea.jpg", "notes.md")
    gone = lambda name, id: None if id == cat else original(name, id)  # noqa: E731
    monkeypatch.setattr(downloads, "read_original", gone)
    with zipfile.ZipFile(BytesIO(download(client, [cat, note]).content)) as archive:
        assert archive.namelist() == ["notes.txt", "missing.txt"]
        assert archive.read("notes.txt")
        assert archive.read("missing.txt").decode().endswith("animals/chelsea.jpg")


def test_files_of_one_name_and_names_of_paths(tmp_path, empty_store, photo):
    for number, folder in enumerate(("a", "b")):
        photo(tmp_path / "in" / folder / "Same.png", number)
    photo(tmp_path / "in" / "missing.txt.png", 7)
    shutil.copy(SAMPLES / "animals" / "chelsea.jpg", tmp_path / "in" / "a\\..\\b.jpg")
    done = run_program("indexer", "ingest", tmp_path / "in", "--store", empty_store)
    assert done.returncode == 0, done.stderr
    client = TestClient(Starlette(routes=list(downloads.build_routes())))
    records, _ = open_searcher("default").collection.store.scroll(limit=10)
    with zipfile.ZipFile(BytesIO(download(client, [r.id for r in records]).content)) as archive:
        assert sorted(archive.namelist()) == [
            "Same (2).png",
            "Same.png",
            "b.jpg",
            "missing.txt.png",
        ]


@pytest.mark.parametrize(
    ("form", "suffix", "side"), [("jpeg-1024", "jpg", 1024), ("webp-2048", "webp", 2048)]
)
def test_an_archive_of_a_chosen_size(tmp_path, empty_store, photo, form, suffix, side):
    photo(tmp_path / "in" / "large.png", 3, size=(3000, 1500))
    photo(tmp_path / "in" / "small.png", 4, size=(300, 150))
    done = run_program("indexer", "ingest", tmp_path / "in", "--store", empty_store)
    assert done.returncode == 0, done.stderr
    client = TestClient(Starlette(routes=list(downloads.build_routes())))
    answer = ask(client, find_ids("large.png", "small.png"), form)
    with zipfile.ZipFile(BytesIO(client.get("/" + answer.json()["url"]).content)) as archive:
        images = {name: Image.open(BytesIO(archive.read(name))) for name in archive.namelist()}
    sizes = {name: image.size for name, image in images.items()}
    assert sizes == {f"large.{suffix}": (side, side // 2), f"small.{suffix}": (300, 150)}


def test_a_contact_sheet_has_pictures_and_names_in_one_page(client):
    ids = find_ids("chelsea.jpg", "notes.md")
    answer = client.get("/" + ask(client, ids, "sheet").json()["url"])
    assert answer.headers["content-disposition"].startswith("inline")
    assert "img-src data:" in answer.headers["content-security-policy"]
    (data,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", answer.text)
    assert max(Image.open(BytesIO(b64decode(data))).size) <= 448
    assert answer.text.index(">chelsea.jpg<") < answer.text.index("<blockquote")


def test_a_table_has_a_row_for_each_and_opens_in_a_spreadsheet(client):
    answer = download(client, find_ids("black-cat.webp", "chelsea.jpg"), "csv")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(StringIO(answer.content.decode("utf-8-sig"))))
    assert [Path(row["path"]).name for row in rows] == ["black-cat.webp", "chelsea.jpg"]
    assert "茶トラの猫がカメラを見ている" in rows[1]["caption"]


@pytest.mark.parametrize(
    ("ids", "form"), [([], "zip"), (["x"], "zip"), (None, "zip"), (1, "csv"), ("chelsea", "tar")]
)
def test_a_bad_selection_is_refused(client, ids, form):
    answer = ask(client, ids, form)
    assert answer.status_code == 400
    assert "A download has" in answer.json()["error"]


def test_limits_and_unknown_downloads(client, monkeypatch):
    cat, other = find_ids("chelsea.jpg", "black-cat.webp")
    assert client.get("/api/downloads/unknown").status_code == 404
    assert ask(client, [cat], collection="gone").status_code == 404
    monkeypatch.setattr(downloads, "MAX_BYTES", 27_000)
    with zipfile.ZipFile(BytesIO(download(client, [cat, other]).content)) as archive:
        assert archive.namelist() == ["chelsea.jpg", "missing.txt"]
    monkeypatch.setattr(downloads, "MAX_ITEMS", 1)
    assert ask(client, [cat, other]).status_code == 400


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a.b\\..\\c.jpg", "c.jpg"), ('x.j"p|g', "x.jpg"), ("x.\udcffjpg", "x.jpg"), ("..", "item")],
)
def test_names_in_an_archive_are_names_everywhere(name, kept):
    suffix = PurePath(name).suffix
    assert downloads._choose_name(Record("1", {}, {"name": name}), suffix, set()) == kept
