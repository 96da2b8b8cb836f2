"""The order of points by date and name, in every kind of store, and dates in filters."""

from __future__ import annotations

import random
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from qdrant_client import models

from indexer.collections import open_backend
from indexer.collections.schema import make_schema
from indexer.errors import QueryError
from indexer.search import sorting
from indexer.search.dates import parse_date_range
from indexer.search.filter_syntax import parse_filters
from indexer.search.filters import build_store_filter
from indexer.search.sorting import PointLister, make_name_key
from indexer.stores.base import Layout
from indexer.types import Record
from tests.memory_store import open_memory_store

NAMES = ["2.jpg", "10.jpg", "IMG_9.jpg", "img_10.jpg", "Äpfel.jpg", "apfel.jpg", "zebra.jpg"]
TAKEN = ["2019-07-14T10:00:00", "2019-07-14T12:30:00+02:00", "2018-01-01", "2020-12-31T23:59:59"]


def make_points() -> list[Record]:
    """35 points with 7 names; every fifth has no date, and one has what is none."""
    points = []
    for i in range(35):
        payload = {"kind": "image" if i % 3 else "text", "name": NAMES[i % 7]}
        payload["added"] = f"2026-11-{1 + i % 28:02}T08:00:00.{i:06}+00:00"
        if i % 5:
            payload["taken"] = TAKEN[i % 4].replace("20", f"{19 + i % 2}", 1)
        points.append(Record(str(uuid.UUID(int=i * 3 % 35 + 1)), {}, payload))
    points[5].payload["taken"] = "in spring"
    return points


@pytest.fixture(
    params=[
        "memory",
        "folder",
        pytest.param("http", marks=pytest.mark.server),
        pytest.param("grpc", marks=pytest.mark.server),
    ]
)
def store(request, config, colors, in_process):
    if request.param == "memory":
        yield open_memory_store(make_schema(4))
        return
    settings = replace(config, **request.getfixturevalue(f"{request.param}_store"))
    backend = open_backend(settings)
    index = backend.create(settings.collection, replace(colors.card, dim=4), Layout())
    with closing(backend.open(index)) as opened:
        yield opened


def when(text: object) -> datetime:
    time = datetime.fromisoformat(str(text))
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def test_pages_in_each_order(store):
    points = make_points()
    store.upsert(points)
    lister = PointLister(store)
    only = models.FieldCondition(key="kind", match=models.MatchValue(value="image"))
    for where in (None, models.Filter(must=[only])):
        there = [p for p in points if where is None or p.payload["kind"] == "image"]
        dated = [p for p in there if p.payload.get("taken", "in spring") != "in spring"]
        for order in ("newest", "oldest", "added", "name", "strength"):
            found: list[Record] = []
            more = True
            while more:
                page, more = lister.list_page(order, where, len(found), 4)
                found += page
                assert len(page) == 4 or not more
            assert sorted(p.id for p in found) == sorted(p.id for p in there), order
            if order in ("newest", "oldest"):  # those without a date come last
                times = [when(p.payload["taken"]) for p in found[: len(dated)]]
                assert times == sorted(times, reverse=order == "newest")
            elif order == "added":
                added = [p.payload["added"] for p in found]
                assert added == sorted(added, reverse=True)
            elif order == "name":
                names = [p.payload["name"] for p in found]
                assert list(dict.fromkeys(names)) == NAMES_IN_ORDER
            assert lister.list_page(order, where, len(there) + 3, 4) == ([], False)


NAMES_IN_ORDER = [
    "2.jpg", "10.jpg", "apfel.jpg", "Äpfel.jpg", "IMG_9.jpg", "img_10.jpg", "zebra.jpg"
]  # fmt: skip


def test_names_in_the_order_of_people():
    names = [*NAMES_IN_ORDER, "zebra2.jpg", "Ｚebra 3.jpg", "東京.jpg", "1️⃣.jpg", "²½.jpg", ""]
    shuffled = random.Random(1).sample(names, len(names))
    ordered = sorted(shuffled, key=make_name_key)
    assert [name for name in ordered if name in NAMES_IN_ORDER] == NAMES_IN_ORDER
    assert ordered == sorted(names, key=make_name_key)


def test_too_many_names_are_not_sorted(monkeypatch):
    monkeypatch.setattr(sorting, "MAX_NAMES", 3)
    store = open_memory_store(make_schema(4))
    store.upsert(make_points())
    with pytest.raises(QueryError, match="more than 3 names"):
        PointLister(store).list_page("name", None, 0, 5)


def test_names_are_listed_again_when_points_come():
    store = open_memory_store(make_schema(4))
    store.upsert(make_points()[:1])
    lister = PointLister(store)
    assert len(lister.list_page("name", None, 0, 9)[0]) == 1
    store.upsert(make_points())
    assert len(lister.list_page("name", None, 0, 99)[0]) == 35


@pytest.mark.parametrize(
    ("value", "first", "end"),
    [
        ("2019", "2019-01-01", "2020-01-01"),
        ("2019-07", "2019-07-01", "2019-08-01"),
        ("2019-12", "2019-12-01", "2020-01-01"),
        ("2020-02-29", "2020-02-29", "2020-03-01"),
        ("2018..2019-07-14", "2018-01-01", "2019-07-15"),
        ("2018..", "2018-01-01", None),
        (" ..2018-3 ", None, "2018-04-01"),
        (">=2019-07", "2019-07-01", None),
        (">2019-07", "2019-08-01", None),
        ("<2019-07", None, "2019-07-01"),
        ("<= 2019-07", None, "2019-08-01"),
    ],
)
def test_a_range_of_dates_has_its_last_day(value, first, end):
    expected = {"gte": first, "lt": end}
    assert parse_date_range(value) == {b: when(day) for b, day in expected.items() if day}


@pytest.mark.parametrize("value", ["", "..", "spring", "2019-13", "2019-02-30", "19", "9999", "<a"])
def test_what_is_no_range_of_dates(value):
    assert parse_date_range(value) is None
    if value:
        with pytest.raises(QueryError, match=r"taken is a date; write taken=2019"):
            build_store_filter(parse_filters([f'taken="{value}"']))


def test_points_of_a_range_of_dates(store):
    store.upsert(make_points())
    for written, years in {
        "taken=2019-07": {"2019"},
        "taken>=2019": {"2019", "2020"},
        "taken=..1918,2020-12-31": {"1918", "2020"},
        "taken!=2019..2020": {None, "in s", "1918", "1919", "1920", "2018"},
    }.items():
        records, _ = store.scroll(build_store_filter(parse_filters([written])))
        found = {record.payload.get("taken") and record.payload["taken"][:4] for record in records}
        assert found <= years, written
        assert found, written


def test_many_points_of_one_time_are_read_a_page_at_a_time(monkeypatch):
    """As of a camera whose clock was never set."""
    store = open_memory_store(make_schema(4))
    times = ["2000-01-01"] * 40 + ["2000-01-02"] + ["2000-01-03"] * 40
    ids = [str(uuid.UUID(int=1 + i * 7 % 81)) for i in range(81)]
    store.upsert(
        [Record(id, {}, {"name": "x", "taken": time}) for id, time in zip(ids, times, strict=True)]
    )
    read = 0
    scroll = store.scroll

    def count(*arguments, **named):
        nonlocal read
        page = scroll(*arguments, **named)
        read += len(page[0])
        return page

    monkeypatch.setattr(store, "scroll", count)
    lister = PointLister(store)
    for order in ("oldest", "newest"):
        found = [
            r for offset in range(0, 81, 9) for r in lister.list_page(order, None, offset, 9)[0]
        ]
        days = sorted(zip(times, ids, strict=True))
        groups = [sorted(i for t, i in days if t.endswith(f"0{day}")) for day in (1, 2, 3)]
        expected = groups if order == "oldest" else groups[::-1]
        assert [record.id for record in found] == [id for group in expected for id in group]
    read = 0
    lister.list_page("newest", None, 0, 9)
    assert read == 9


def test_a_name_of_thousands_of_digits_is_sorted():
    long = f"{'9' * 5000}.jpg"
    assert sorted([long, "a.jpg", "2.jpg"], key=make_name_key) == ["2.jpg", long, "a.jpg"]
