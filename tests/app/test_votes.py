"""Thumbs on the hits of a search: shown as they stand in the collection's file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from app import votes
from app.media import find_upload, save_upload
from app.services import open_searcher
from app.state import Search
from indexer import feedback
from indexer.search.filters import make_filters
from indexer.types import QueryTerm


def search_for(*terms, **more) -> Search:
    return Search(collection="default", terms=terms, **more)


CATS = search_for(QueryTerm(text="cat"))


@pytest.fixture
def record(app_store):
    """The cat; the votes of the test are forgotten after it."""
    records, _ = open_searcher("default").collection.store.scroll(limit=1000)
    yield next(r for r in records if r.payload["name"] == "chelsea.jpg")
    (app_store / "default" / "feedback.jsonl").unlink(missing_ok=True)


def test_a_vote_is_stored_and_withdrawn(record, app_store):
    votes.record_votes(CATS, [(record, 1)])
    assert votes.load_votes(CATS) == {record.id: 1}
    assert votes.count_votes("default") == (1, 0)
    (kept,) = feedback.read_votes(app_store / "default")
    assert kept.query.parts == (QueryTerm(text="cat"),)
    assert (kept.content, kept.text) == (record.payload["content"], None)
    assert Path(kept.path).name == "chelsea.jpg"
    votes.record_votes(CATS, [(record, 0)])
    assert votes.load_votes(CATS) == {}


def test_a_vote_belongs_to_its_query(record):
    votes.record_votes(CATS, [(record, -1)])
    assert votes.load_votes(search_for(QueryTerm(text="dog"))) == {}
    assert votes.load_votes(search_for(QueryTerm(text="cat", weight=2.0))) == {}
    images = make_filters({"kind": "image"})
    assert votes.load_votes(search_for(QueryTerm(text="cat"), filters=images)) == {record.id: -1}


def test_an_uploaded_image_is_stored_with_the_collection(record, app_store):
    buffer = BytesIO()
    Image.new("RGB", (90, 60), "red").save(buffer, "PNG")
    name = save_upload(buffer.getvalue())
    search = search_for(QueryTerm(image=f"img:{name}"), QueryTerm(text="cat", weight=-1.0))
    votes.record_votes(search, [(record, 1)])
    assert votes.load_votes(search) == {record.id: 1}
    picture, words = feedback.read_votes(app_store / "default")[0].query.parts
    assert Path(picture.image).read_bytes() == find_upload(name).read_bytes()
    assert Path(picture.image).parent == app_store / "default" / "feedback"
    assert words == QueryTerm(text="cat", weight=-1.0)


def test_a_point_of_the_collection_is_named(record, app_store):
    votes.record_votes(search_for(QueryTerm(id=record.id, weight=-2.0)), [(record, 1)])
    (part,) = feedback.read_votes(app_store / "default")[0].query.parts
    assert part == QueryTerm(id=record.id, weight=-2.0)


def test_votes_that_cannot_be_read_hide_no_hits(record, app_store):
    (app_store / "default" / "feedback.jsonl").mkdir()
    try:
        assert votes.load_votes(CATS) == {}
    finally:
        (app_store / "default" / "feedback.jsonl").rmdir()
