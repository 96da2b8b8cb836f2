"""`indexer export` writes complete points."""

from __future__ import annotations

import csv
import io
import json
from uuid import uuid4

import numpy as np

from indexer.export import export
from indexer.types import Record


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines(library):
    done = library("export")
    assert done.returncode == 0
    rows = lines(done.stdout)
    assert len(rows) == 4
    red = next(row for row in rows if row["payload"]["name"] == "red.png")
    assert red["score"] is None
    assert len(red["vectors"]["image"]) == 48
    assert abs(np.linalg.norm(red["vectors"]["text"]) - 1) < 1e-3
    words = red["vectors"]["bm25"]
    assert len(words["indices"]) == len(words["values"]) > 0


def test_without_vectors_and_with_a_filter(library):
    rows = lines(library("export", "--no-vectors", "--where", "kind=text").stdout)
    assert [row["payload"]["name"] for row in rows] == ["note.md"]
    assert "vectors" not in rows[0]


def test_a_limit_holds_without_a_search(library):
    everything = lines(library("export", "--no-vectors").stdout)
    assert lines(library("export", "--no-vectors", "-n", "2").stdout) == everything[:2]
    assert library("export", "-n", 2**64).returncode == 2


def test_an_output_that_cannot_be_written_is_named(library, tmp_path):
    out = tmp_path / "nowhere" / "all.jsonl"
    done = library("export", "-o", out)
    assert done.returncode == 1
    assert done.stderr == f"error: {out} cannot be written: No such file or directory\n"


def test_a_search_keeps_its_order(library):
    rows = lines(library("export", "--search", "red", "--limit", "2").stdout)
    hits = library.json("search", "red", "--limit", "2")["hits"]
    assert [(row["id"], row["score"]) for row in rows] == [(h["id"], h["score"]) for h in hits]


def test_numpy(library, tmp_path):
    out = tmp_path / "out.npz"
    answer = library.json("export", "--format", "npz", "--output", out)
    assert answer == {"points": 4, "format": "npz", "output": str(out)}
    archive = np.load(out)
    exact = {row["id"]: row for row in lines(library("export").stdout)}
    payloads = lines(archive["payloads.jsonl"].decode())
    assert archive["image"].shape == archive["text"].shape == (4, 48)
    for id, payload, image in zip(archive["ids"], payloads, archive["image"], strict=True):
        row = exact[str(id)]
        assert payload == row["payload"]
        if payload["kind"] == "text":
            assert np.isnan(image).all()
        else:
            np.testing.assert_allclose(image, row["vectors"]["image"], atol=1e-6)
    names = dict(zip(archive["ids"], archive["name"], strict=True))
    named = {id: row["vectors"]["name"] for id, row in exact.items() if "name" in row["vectors"]}
    assert len(named) == 3
    for id, name in names.items():
        expected = named.get(str(id), [np.nan] * 48)
        np.testing.assert_allclose(name, expected, atol=1e-6)


def test_numpy_without_points(library, tmp_path):
    out = tmp_path / "out.npz"
    library.json("export", "--format", "npz", "--where", "year=1066", "--output", out)
    archive = np.load(out)
    assert archive["ids"].shape == (0,)
    assert archive["image"].shape == archive["text"].shape == (0, 0)
    assert archive["image"].dtype == np.float32
    assert archive["payloads.jsonl"] == b""


def test_numpy_of_points_without_dense_vectors():
    out = io.BytesIO()
    rows = [(Record(str(uuid4()), {}, {"paths": []}), None)] * 2
    assert export(rows, out, "npz") == 2
    out.seek(0)
    assert np.load(out)["image"].shape == (2, 0)


def test_csv(library):
    done = library("export", "--format", "csv")
    rows = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert rows["red.png"]["caption"] == "a red wall"
    assert rows["note.md"]["text"] == "White snow on the hill."


def test_a_file_appears_complete_or_not_at_all(library, tmp_path):
    (tmp_path / "out.jsonl").write_text("before")
    done = library("export", "-o", tmp_path / "out.jsonl", "--where", "year=soon")
    assert done.returncode == 1
    assert (tmp_path / "out.jsonl").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.jsonl"]
    assert library("export", "-o", tmp_path / "out.jsonl").returncode == 0
    assert len(lines((tmp_path / "out.jsonl").read_text())) == 4
