"""Votes: the last one counts, a line cut by a crash is ignored, and no vote is lost."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from indexer.errors import StoreError
from indexer.feedback import (
    Vote,
    VotedQuery,
    locate_image_copy,
    read_votes,
    record_votes,
)
from indexer.paths import hash_content
from indexer.search.filters import make_filters
from indexer.types import QueryTerm

CATS = VotedQuery((QueryTerm(text="cats"),))


def vote(value: int = 1, id: str = "a", query: VotedQuery = CATS) -> Vote:
    return Vote(query, id, content=f"content of {id}", vote=value, path=f"/pictures/{id}.jpg")


def test_a_vote_is_one_complete_line(tmp_path):
    query = VotedQuery(
        (QueryTerm(text="gatto"), QueryTerm(id="p1", weight=-2.0)),
        make_filters({"kind": ["image", "text"], "tags": {"not": "a, b"}}),
    )
    record_votes(tmp_path, Vote(query, "p2", "c2", -1, text="A passage."))
    (line,) = (tmp_path / "feedback.jsonl").read_text("utf-8").splitlines()
    row = json.loads(line)
    assert row.pop("time").endswith("+00:00")
    assert row == {
        "query": {
            "parts": [{"text": "gatto", "weight": 1.0}, {"id": "p1", "weight": -2.0}],
            "where": {"kind": ["image", "text"], "tags": {"not": ["a, b"]}},
        },
        "id": "p2",
        "content": "c2",
        "path": None,
        "text": "A passage.",
        "vote": -1,
    }
    assert read_votes(tmp_path) == [Vote(query, "p2", "c2", -1, text="A passage.")]


def test_the_last_vote_counts_and_a_withdrawn_one_is_gone(tmp_path):
    dogs = VotedQuery((QueryTerm(text="dogs"),))
    for cast in (vote(1, "a"), vote(1, "b"), vote(-1, "a"), vote(0, "b"), vote(1, "b", dogs)):
        record_votes(tmp_path, cast)
    assert read_votes(tmp_path) == [vote(-1, "a"), vote(1, "b", dogs)]


def test_a_query_is_its_parts_in_any_order_under_any_filter(tmp_path):
    red, car = QueryTerm(text="red"), QueryTerm(text="car", weight=2.0)
    record_votes(tmp_path, vote(1, query=VotedQuery((red, car))))
    record_votes(tmp_path, vote(-1, query=VotedQuery((car, red), make_filters({"kind": "image"}))))
    assert [v.vote for v in read_votes(tmp_path)] == [-1]


def test_an_image_query_is_copied_to_the_collection(tmp_path, photo):
    dropped = photo(tmp_path / "uploads" / "x.PNG", "red")
    data, name = dropped.read_bytes(), f"{hash_content(dropped.read_bytes())}.png"
    folder = tmp_path / "collection"
    folder.mkdir()
    record_votes(folder, vote(query=VotedQuery((QueryTerm(image=str(dropped)),))))
    dropped.unlink()
    kept = Path(read_votes(folder)[0].query.parts[0].image)
    assert kept == folder / "feedback" / name
    assert kept.read_bytes() == data
    assert str(folder) not in (folder / "feedback.jsonl").read_text(), "the folder may be moved"


def test_locate_image_copy_is_where_the_copy_is(tmp_path, photo):
    dropped = photo(tmp_path / "x.png", "red")
    record_votes(tmp_path, vote(query=VotedQuery((QueryTerm(image=str(dropped)),))))
    assert read_votes(tmp_path)[0].query.parts[0].image == str(locate_image_copy(tmp_path, dropped))


def test_a_line_cut_by_a_crash_loses_no_other(tmp_path):
    record_votes(tmp_path, vote(1, "a"))
    with (tmp_path / "feedback.jsonl").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "query": {"par')
    assert read_votes(tmp_path) == [vote(1, "a")]
    record_votes(tmp_path, vote(1, "b"))
    assert read_votes(tmp_path) == [vote(1, "a"), vote(1, "b")]


@pytest.mark.parametrize("line", ["[]", "7", "null", '{"query": []}', '{"vote": "x"}', "\x00", ""])
def test_invalid_lines_are_ignored(tmp_path, line):
    (tmp_path / "feedback.jsonl").write_text(line + "\n")
    record_votes(tmp_path, vote())
    assert read_votes(tmp_path) == [vote()]


def test_names_that_are_not_utf8_survive(tmp_path):
    cast = Vote(CATS, "a", "c", 1, path="/pictures/caf\udce9.jpg")
    record_votes(tmp_path, cast)
    assert read_votes(tmp_path) == [cast]


def test_a_collection_without_votes_has_none(tmp_path):
    assert read_votes(tmp_path) == []


def test_a_vote_that_cannot_be_saved_is_a_readable_error(tmp_path):
    with pytest.raises(StoreError, match="was not saved"):
        record_votes(tmp_path / "nothing", vote())
    (tmp_path / "feedback.jsonl").mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        read_votes(tmp_path)


def _cast(folder: Path, name: str) -> None:
    for number in range(40):
        record_votes(folder, vote(1, f"{name}{number}"))


def test_concurrent_processes_lose_no_vote(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    voters = [spawn.Process(target=_cast, args=(tmp_path, name)) for name in "ab"]
    for voter in voters:
        voter.start()
    for voter in voters:
        voter.join(60)
    assert [voter.exitcode for voter in voters] == [0, 0]
    assert {v.id for v in read_votes(tmp_path)} == {
        f"{name}{i}" for name in "ab" for i in range(40)
    }
