"""A mistyped key is an error, and a mistyped value a hint."""

from __future__ import annotations

import uuid

import pytest

from indexer.collections.schema import make_schema
from indexer.errors import QueryError
from indexer.search.filter_checks import check_columns, explain_no_hits
from indexer.search.filters import make_filters
from indexer.types import Record
from tests.memory_store import open_memory_store

PAYLOADS = (
    {"kind": "image", "tags": ["beach"], "folder": ["/p/Holiday, 2019"], "meta": {"price": 5}},
    {
        "kind": "text",
        "tags": [],
        "folder": ["/p/x"],
        "paths": [],
        "meta": {"date taken": "2021-05", "year": 1850, "path": "x"},
    },
)


@pytest.fixture(scope="module")
def store():
    store = open_memory_store(make_schema(4))
    store.upsert([Record(str(uuid.UUID(int=i + 1)), {}, p) for i, p in enumerate(PAYLOADS)])
    return store


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yeer", "no item has the key 'yeer'; did you mean 'year'?"),
        ("Kind", "did you mean 'kind'?"),
        ("Date Taken", "did you mean 'date taken'?"),
        ("prise", "did you mean 'price'?"),
        ("taken", "did you mean 'date taken'?"),
        ("type", "did you mean 'kind'?"),
        ("zzz", "the keys are kind, .*, path, price, year"),
    ],
)
def test_an_unknown_key(store, name, message):
    with pytest.raises(QueryError, match=message.replace("?", r"\?")):
        check_columns(store, make_filters({name: {"not": "1"}}))


def test_known_keys(store):
    known = ("price", "date taken", "meta.year", "tag")
    check_columns(store, make_filters(dict.fromkeys(known, 1)))


def test_an_empty_collection_has_no_unknown_keys():
    check_columns(open_memory_store(make_schema(4)), make_filters({"price": "1"}))


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        ({"tag": "beech"}, "No item has tags=beech; did you mean 'beach'?"),
        ({"tag": ["beach", "zzz"]}, "No item has tags=zzz."),
        ({"kind": "Image"}, "No item has kind=Image; did you mean 'image'?"),
        ({"folder": "Holiday, 2019"}, "did you mean '/p/Holiday, 2019'?"),
        ({"folder": "Holi"}, "did you mean '/p/Holiday, 2019'?"),
        ({"year": "1850"}, "The key 'year' is built in; your own column is 'meta.year'."),
        ({"path": "shelf"}, "The key 'path' is built in; your own column is 'meta.path'."),
        ({"date taken": "2021-5"}, "No item has date taken=2021-5; did you mean '2021-05'?"),
        ({"tag": "beach", "price": "9"}, ""),
        ({"kind": {"not": "other"}}, ""),
    ],
)
def test_why_nothing_was_found(store, filters, hint):
    assert hint in explain_no_hits(store, make_filters(filters))
