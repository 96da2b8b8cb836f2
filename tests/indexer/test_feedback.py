"""Votes: the last one counts, what a crash cut is passed over, and nobody's line is lost."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from indexer.errors import StoreError
from indexer.feedback import Asked, AskedPart, Vote, place, read, record
from indexer.identity import content_hash

CATS = Asked((AskedPart(text="cats"),))


def vote(value: int = 1, id: str = "a", query: Asked = CATS) -> Vote:
    return Vote(query, id, content=f"content of {id}", vote=value, path=f"/pictures/{id}.jpg")


def test_a_vote_is_one_line_that_says_all(tmp_path):
    query = Asked(
        (AskedPart(text="gatto"), AskedPart(id="p1", weight=-2.0)), {"kind": ("image", "text")}
    )
    record(tmp_path, Vote(query, "p2", "c2", -1, text="A passage."))
    (line,) = (tmp_path / "feedback.jsonl").read_text("utf-8").splitlines()
    row = json.loads(line)
    assert row.pop("time").endswith("+00:00")
    assert row == {
        "query": {
            "parts": [{"text": "gatto", "weight": 1.0}, {"id": "p1", "weight": -2.0}],
            "where": {"kind": ["image", "text"]},
        },
        "id": "p2",
        "content": "c2",
        "path": None,
        "text": "A passage.",
        "vote": -1,
    }
    assert read(tmp_path) == [Vote(query, "p2", "c2", -1, text="A passage.")]


def test_the_last_vote_counts_and_one_taken_back_is_gone(tmp_path):
    dogs = Asked((AskedPart(text="dogs"),))
    for cast in (vote(1, "a"), vote(1, "b"), vote(-1, "a"), vote(0, "b"), vote(1, "b", dogs)):
        record(tmp_path, cast)
    assert read(tmp_path) == [vote(-1, "a"), vote(1, "b", dogs)]


def test_a_query_is_its_parts_in_any_order_under_any_filter(tmp_path):
    red, car = AskedPart(text="red"), AskedPart(text="car", weight=2.0)
    record(tmp_path, vote(1, query=Asked((red, car))))
    record(tmp_path, vote(-1, query=Asked((car, red), {"kind": ("image",)})))
    assert [v.vote for v in read(tmp_path)] == [-1]


def test_a_picture_of_a_query_is_kept_with_the_collection(tmp_path, photo):
    dropped = photo(tmp_path / "uploads" / "x.PNG", "red")
    data, name = dropped.read_bytes(), f"{content_hash(dropped.read_bytes())}.png"
    folder = tmp_path / "collection"
    folder.mkdir()
    record(folder, vote(query=Asked((AskedPart(image=str(dropped)),))))
    dropped.unlink()
    kept = Path(read(folder)[0].query.parts[0].image)
    assert kept == folder / "feedback" / name
    assert kept.read_bytes() == data
    assert str(folder) not in (folder / "feedback.jsonl").read_text(), "the folder may be moved"


def test_place_tells_where_a_picture_is_kept(tmp_path, photo):
    dropped = photo(tmp_path / "x.png", "red")
    record(tmp_path, vote(query=Asked((AskedPart(image=str(dropped)),))))
    assert read(tmp_path)[0].query.parts[0].image == str(place(tmp_path, dropped))


def test_a_line_that_a_crash_cut_costs_nothing_else(tmp_path):
    record(tmp_path, vote(1, "a"))
    with (tmp_path / "feedback.jsonl").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "query": {"par')
    assert read(tmp_path) == [vote(1, "a")]
    record(tmp_path, vote(1, "b"))
    assert read(tmp_path) == [vote(1, "a"), vote(1, "b")]


@pytest.mark.parametrize("line", ["[]", "7", "null", '{"query": []}', '{"vote": "x"}', "\x00", ""])
def test_lines_that_are_no_votes_are_passed_over(tmp_path, line):
    (tmp_path / "feedback.jsonl").write_text(line + "\n")
    record(tmp_path, vote())
    assert read(tmp_path) == [vote()]


def test_names_that_are_no_utf8_come_back_as_they_were(tmp_path):
    cast = Vote(CATS, "a", "c", 1, path="/pictures/caf\udce9.jpg")
    record(tmp_path, cast)
    assert read(tmp_path) == [cast]


def test_a_collection_without_votes_has_none(tmp_path):
    assert read(tmp_path) == []


def test_a_vote_that_cannot_be_kept_is_an_error_in_words(tmp_path):
    with pytest.raises(StoreError, match="was not kept"):
        record(tmp_path / "nothing", vote())
    (tmp_path / "feedback.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        read(tmp_path)


def _cast(folder: Path, name: str) -> None:
    for number in range(40):
        record(folder, vote(1, f"{name}{number}"))


def test_processes_that_vote_at_once_lose_nothing(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    voters = [spawn.Process(target=_cast, args=(tmp_path, name)) for name in "ab"]
    for voter in voters:
        voter.start()
    for voter in voters:
        voter.join(60)
    assert {v.id for v in read(tmp_path)} == {f"{name}{i}" for name in "ab" for i in range(40)}
