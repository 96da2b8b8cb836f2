"""`indexer export` takes points elsewhere whole."""

from __future__ import annotations

import csv
import io
import json

import numpy as np


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines(indexed):
    done = indexed("export")
    assert done.returncode == 0
    rows = lines(done.stdout)
    assert len(rows) == 4
    red = next(row for row in rows if row["payload"]["name"] == "red.png")
    assert red["score"] is None
    assert len(red["vectors"]["image"]) == 48
    assert abs(np.linalg.norm(red["vectors"]["text"]) - 1) < 1e-3
    words = red["vectors"]["bm25"]
    assert len(words["indices"]) == len(words["values"]) > 0


def test_without_vectors_and_with_a_filter(indexed):
    rows = lines(indexed("export", "--no-vectors", "--where", "kind=text").stdout)
    assert [row["payload"]["name"] for row in rows] == ["note.md"]
    assert "vectors" not in rows[0]


def test_a_search_in_its_order(indexed):
    rows = lines(indexed("export", "--search", "red", "--limit", "2").stdout)
    hits = indexed.json("search", "red", "--limit", "2")["hits"]
    assert [(row["id"], row["score"]) for row in rows] == [(h["id"], h["score"]) for h in hits]


def test_numpy(indexed, tmp_path):
    answer = indexed.json("export", "--format", "npz", "--output", "out.npz")
    assert answer == {"points": 4, "format": "npz", "output": "out.npz"}
    archive = np.load(tmp_path / "out.npz")
    exact = {row["id"]: row for row in lines(indexed("export").stdout)}
    payloads = lines(archive["payloads.jsonl"].decode())
    assert archive["image"].shape == archive["text"].shape == (4, 48)
    for id, payload, image in zip(archive["ids"], payloads, archive["image"], strict=True):
        row = exact[str(id)]
        assert payload == row["payload"]
        if payload["kind"] == "text":
            assert np.isnan(image).all()
        else:
            np.testing.assert_allclose(image, row["vectors"]["image"], atol=1e-6)


def test_csv(indexed):
    done = indexed("export", "--format", "csv")
    rows = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert rows["red.png"]["caption"] == "a red wall"
    assert rows["note.md"]["text"] == "White snow on the hill."


def test_a_file_appears_whole_or_not_at_all(indexed, tmp_path):
    (tmp_path / "out.jsonl").write_text("before")
    done = indexed("export", "-o", "out.jsonl", "--where", "year=soon")
    assert done.returncode == 1
    assert (tmp_path / "out.jsonl").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == ["out.jsonl"]
    assert indexed("export", "-o", "out.jsonl").returncode == 0
    assert len(lines((tmp_path / "out.jsonl").read_text())) == 4
