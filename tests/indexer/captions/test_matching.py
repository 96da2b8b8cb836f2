"""Files found by names as people write them, and what is said about it."""

from __future__ import annotations

import pytest

from indexer.captions.apple import parse_apple_row
from indexer.captions.dates import Taken
from indexer.captions.find_file import find_file
from indexer.captions.manifest import Manifest
from indexer.captions.match_log import MatchLog


@pytest.fixture
def photos(tmp_path, monkeypatch):
    (tmp_path / "Photos" / "Rome").mkdir(parents=True)
    for name in ("x.jpg", "Rome/caf\u00e9.jpg", "Rome/A.jpg", "Rome/a.JPG"):
        (tmp_path / "Photos" / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "Photos"


@pytest.mark.parametrize(
    ("path", "name", "how"),
    [
        ("x.jpg", "x.jpg", "exact"),
        ("Rome/cafe\u0301.jpg", "Rome/caf\u00e9.jpg", "form"),
        ("Rome\\caf\u00e9.jpg", "Rome/caf\u00e9.jpg", "exact"),
        ("rome/CAF\u00c9.jpg", "Rome/caf\u00e9.jpg", "case"),
        ("./rome//cafe\u0301.jpg", "Rome/caf\u00e9.jpg", "case"),
        ("Photos/x.jpg", "x.jpg", "folder"),
        ("D:/old/photos/Rome/caf\u00e9.jpg", "Rome/caf\u00e9.jpg", "folder"),
        ("y.jpg", None, "exact"),
        ("Photos/y.jpg", None, "exact"),
        ("Photos", None, "exact"),
    ],
)
def test_a_path_part_by_part(photos, path, name, how):
    found = find_file(f"{photos}/{path}")
    assert found.name == (f"{photos}/{name}" if name else None)
    assert found.how == how


def test_relative_paths_homes_and_several_candidates(photos):
    assert find_file("photos/X.jpg").name == "Photos/x.jpg"
    assert find_file("~/Photos/x.jpg").name == f"{photos}/x.jpg"
    assert find_file("nothing.jpg").names == ()
    found = find_file("Photos/Rome/a.jpg")
    assert found.name is None and found.how == "case"
    assert sorted(found.names) == ["Photos/Rome/A.jpg", "Photos/Rome/a.JPG"]


def test_notes_of_a_run():
    log = MatchLog()
    unused = [f"n{i}.jpg" for i in range(5)]
    rows = {
        name: [{}] for name in ("used.jpg", "both.jpg", "https://x/y.jpg", "there.jpg", *unused)
    }
    table = Manifest(rows, {"n0.jpg": "N0.jpg"}, ["line 2: odd"] * 22)
    for _ in range(2):  # what is added twice counts once
        log.add_table("t.csv")
        log.add_used("t.csv", "used.jpg")
        log.add_ambiguous("t.csv", "both.jpg", ["a", "b"])
        log.add_inexact("/p", "X.txt", "x.jpg", "case")
    notes = list(log.iterate_notes({"t.csv": table}.__getitem__, lambda _, n: n == "there.jpg"))
    assert [note.path for note in notes] == ["/p"] + ["t.csv"] * 23
    texts = [note.text for note in notes]
    assert texts[0] == "1 name is in other letter case, such as 'X.txt' for 'x.jpg'"
    assert texts[1:22] == ["line 2: odd"] * 20 + ["and 2 more of this kind"]
    assert texts[22] == "5 names fit no file, such as 'N0.jpg', 'n1.jpg', 'n2.jpg'"
    assert texts[23] == "'both.jpg' fits 'a', 'b' equally well, and counts for none"


def test_one_name_that_fits_no_file():
    log = MatchLog()
    log.add_table("t.csv")
    table = Manifest({"n" * 90: [{}]}, notes=["odd"] * 20)
    *odd, note = log.iterate_notes(lambda _: table, lambda *_: False)
    assert [one.text for one in odd] == ["odd"] * 20
    assert note.text == f"1 name fits no file, such as {'n' * 80!r}"


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Saturday January 15,2022 7:31 PM GMT", "2022-01-15T19:31:00+00:00"),
        ("Saturday January 15, 2022 12:31 AM GMT", "2022-01-15T00:31:00+00:00"),
        (" Saturday December 31,2022 12:31 PM GMT ", "2022-12-31T12:31:00+00:00"),
        ("Saturday Smarch 15,2022 7:31 PM GMT", "2022"),
        ("15.1.2022", None),
    ],
)
def test_dates_of_apple(text, date):
    row = {"originalCreationDate": text, "favorite": "Yes", "fileChecksum": "x"}
    found = parse_apple_row(row)
    assert found.taken == (Taken(date, "apple") if date else None)
    assert found.meta == {"favorite": "true"}
    assert parse_apple_row({"originalCreationDate": text}).meta == {}
