"""A mistyped key is an error, and a mistyped value a hint."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from indexer.collections.schema import make_schema
from indexer.errors import QueryError
from indexer.search.filter_checks import check_columns, explain_filters
from indexer.search.filters import make_filters
from indexer.types import Record
from tests.memory_store import open_memory_store

PAYLOADS = (
    {
        "kind": "image",
        "tags": ["beach"],
        "folder": ["/p/Holiday, 2019"],
        "meta": {"price": 5, "meta.a": 1, "": 2},
    },
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
        ("type", "did you mean 'kind'?"),
        ("file", "did you mean 'name'?"),
        ("meta.a", "did you mean 'meta.meta.a'?"),
        ("meta.tags", "no item has the key 'meta.tags'; did you mean 'tags'?"),
        ("zzz", "the keys are kind, .*, date taken, meta.meta.a, meta.path, price, meta.year"),
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
        ({"tag": "beech"}, "No item has tags=beech; did you mean tags=beach?"),
        ({"tag": ["beach", "zzz"]}, "No item has tags=zzz."),
        ({"kind": "Image"}, "No item has kind=Image; did you mean kind=image?"),
        ({"folder": "Holiday, 2019"}, 'did you mean folder="/p/Holiday, 2019"?'),
        ({"folder": "Holi"}, 'did you mean folder="/p/Holiday, 2019"?'),
        ({"year": "1850"}, "The key 'year' is built in; your own column is 'meta.year'."),
        ({"path": "shelf"}, "The key 'path' is built in; your own column is 'meta.path'."),
        (
            {"date taken": "2021-5"},
            "No item has date taken=2021-5; did you mean date taken=2021-05?",
        ),
        ({"folder": Path("Holi")}, 'did you mean folder="/p/Holiday, 2019"?'),
        ({"folder": ["Holiday", "2019"]}, 'did you mean folder="/p/Holiday, 2019"? A shell takes'),
        ({"path": "y"}, "No item has paths=y."),
        ({"tag": "2019"}, "No item has tags=2019."),
        ({"date taken": "2021"}, "did you mean date taken=2021-05?"),
        ({"tag": "beach", "price": "9"}, "No item has price=9."),
        ({"price": ">9"}, "No item has price>9."),
        ({"date taken": ">2020"}, "date taken>2020; its values are text, such as '2021-05'."),
        ({"kind": {"not": "other"}}, "No item has kind=other."),
        ({"tag": "beach", "kind": "text"}, ""),
    ],
)
def test_why_nothing_was_found(store, filters, hint):
    explained = explain_filters(store, make_filters(filters), is_empty=True)
    assert hint in explained if hint else explained == ""


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        ({"format": {"not": "jpg"}}, "No item has format=jpg."),
        ({"year": {"not": "1850"}}, "your own column is 'meta.year'."),
        ({"kind": ["image", "txet"]}, "No item has kind=txet; did you mean kind=text?"),
        ({"kind": ["image", "text"], "tag": {"not": "beach"}}, ""),
        ({"kind": "image"}, ""),
    ],
)
def test_what_a_filter_left_in_without_a_word(store, filters, hint):
    explained = explain_filters(store, make_filters(filters), is_empty=False)
    assert hint in explained if hint else explained == ""
