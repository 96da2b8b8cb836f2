"""Pairs from thumbs up and down."""

from __future__ import annotations

import pytest

from finetune.data.collection_pairs import from_feedback
from finetune.data.pairs import Pair, Side
from finetune.errors import DataError
from indexer.feedback import Vote, VotedQuery, record_votes
from indexer.paths import hash_content, make_point_ids
from indexer.types import QueryTerm


def asked(*parts: QueryTerm) -> VotedQuery:
    return VotedQuery(parts)


WORDS = asked(QueryTerm(text="paint"))


@pytest.fixture
def collection(shared):
    return shared[0]


@pytest.fixture
def folder(shared):
    return shared[1]


@pytest.fixture
def vote(collection, folder):
    """`vote(value, file, query)` records a vote on an image."""

    def cast(value: int, name: str, query: VotedQuery = WORDS) -> None:
        path = folder / name
        content = hash_content(path.read_bytes())
        record_votes(
            collection.path, Vote(query, make_point_ids(content)[0], content, value, path=str(path))
        )

    return cast


def side(folder, name: str, text: str | None = None) -> Side:
    return Side(text, str(folder / name))


def test_thumbs_up_are_positives_and_thumbs_down_negatives(collection, folder, vote):
    vote(1, "red.png")
    vote(1, "blue.png")
    vote(-1, "green.png")
    item = {name: hash_content((folder / f"{name}.png").read_bytes()) for name in ("red", "blue")}
    bad = (side(folder, "green.png"),)
    assert from_feedback(collection).pairs == [
        Pair(
            Side("paint"),
            side(folder, "red.png"),
            bad,
            language=None,
            item=item["red"],
            dataset="default",
        ),
        Pair(
            Side("paint"),
            side(folder, "blue.png"),
            bad,
            language=None,
            item=item["blue"],
            dataset="default",
        ),
    ]


def test_the_last_vote_counts(collection, folder, vote):
    for value in (1, -1, 1, 0):
        vote(value, "red.png")
    vote(-1, "blue.png")
    vote(1, "blue.png")
    (pair,) = from_feedback(collection).pairs
    assert (pair.positive, pair.negatives) == (side(folder, "blue.png"), ())


def test_parts_are_one_query(collection, folder, vote):
    green = make_point_ids(hash_content((folder / "green.png").read_bytes()))[0]
    parts = (
        QueryTerm(text="brighter"),
        QueryTerm(id=green, weight=2.0),
        QueryTerm(text="wet", weight=0.5),
        QueryTerm(text="people", weight=-1.0),
    )
    vote(1, "red.png", asked(*parts))
    (pair,) = from_feedback(collection).pairs
    assert pair.query == side(folder, "green.png", "brighter, wet")
    assert pair.direction == "it2i"


def test_an_uploaded_picture_is_found_where_it_is_stored(collection, vote, photo, tmp_path):
    dropped = photo(tmp_path / "dropped.png", 99)
    query = asked(QueryTerm(image=str(dropped)))
    vote(1, "red.png", query)
    dropped.unlink()
    (pair,) = from_feedback(collection).pairs
    assert pair.direction == "i2i"
    assert pair.query.image.startswith(str(collection.path))


def test_a_passage_is_found_as_it_was(collection, folder):
    record_votes(
        collection.path, Vote(WORDS, make_point_ids("c", 1)[0], "c", 1, text="Take two colors.")
    )
    (pair,) = from_feedback(collection).pairs
    assert (pair.positive, pair.direction) == (Side("Take two colors."), "t2t")


def test_votes_without_pairs_are_counted(collection, folder, vote):
    vote(1, "red.png")
    vote(-1, "blue.png", asked(QueryTerm(text="only bad")))
    vote(1, "blue.png", asked(QueryTerm(text="not this", weight=-1.0)))
    vote(1, "blue.png", asked(*(QueryTerm(id=make_point_ids(str(i))[0]) for i in range(2))))
    gone = Vote(WORDS, make_point_ids("gone")[0], "gone", 1, path=str(folder / "gone.png"))
    record_votes(collection.path, gone)
    made = from_feedback(collection)
    assert [pair.query.text for pair in made.pairs] == ["paint"]
    assert +made.left_out == {
        "query with thumbs down only": 1,
        "query without text or with pictures that are gone": 2,
        "vote on a result that is gone": 1,
    }


def test_without_pairs_the_error_gives_advice(collection, vote):
    with pytest.raises(DataError, match=r"there are no votes .*: run make app"):
        from_feedback(collection)
    vote(-1, "red.png")
    with pytest.raises(DataError, match=r"give no pairs \(1 x query with thumbs down only\)"):
        from_feedback(collection)
