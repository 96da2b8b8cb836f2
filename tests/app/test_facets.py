"""What a click on a filter makes of the search."""

from __future__ import annotations

import json

import pytest

from app.facets import (
    change_filters,
    choose_columns,
    count_values,
    describe_days,
    describe_folders,
    describe_others,
    describe_values,
)
from app.state import Search
from indexer.search.filters import make_filters
from indexer.types import FieldFilter

SEARCH = Search(
    collection="default", filters=make_filters({"kind": "image", "name": {"any": "a", "not": "b"}})
)


@pytest.mark.parametrize(
    ("changed", "filters"),
    [
        ({"key": "kind", "any": [], "none": ["text"]}, {"kind": {"not": "text"}}),
        ({"key": "kind", "any": [], "none": []}, {}),
        ({"key": "tags", "any": ["x", "y"], "none": []}, {"kind": "image", "tags": ["x", "y"]}),
    ],
)
def test_values_are_chosen_and_left_out(changed, filters):
    expected = make_filters({**filters, "name": {"any": "a", "not": "b"}})
    assert change_filters(SEARCH, changed).filters == expected


def test_a_filter_without_a_facet_is_shown_and_removed():
    first, second = describe_others(SEARCH)
    assert (first["text"], second["text"]) == ("name=a", "name!=b")
    without = change_filters(SEARCH, {"key": second["key"], "remove": second["side"]})
    assert without.filters["name"] == FieldFilter(("a",))
    assert change_filters(SEARCH, {"clear": True}).filters == {}


def test_values_that_are_chosen_stay_though_they_have_no_count():
    values = describe_values("year", [(2019, 3)], FieldFilter(("2019", "2020"), ("2021",)))  # type: ignore[list-item]
    assert [(value["value"], value["count"]) for value in values] == [
        ("2019", 3),
        ("2020", None),
        ("2021", None),
    ]


def test_columns_whose_values_come_again_are_facets():
    payloads = [
        {"meta": {"shop": ["a", "b"][number % 2], "price": number, "one": "x"}, "tags": ["t"]}
        for number in range(10)
    ]
    assert choose_columns(payloads, {}) == ["meta.shop"]
    assert choose_columns(payloads, make_filters({"price": "3"})) == ["meta.shop", "meta.price"]
    assert count_values([*payloads, {}], "meta.shop") == [("a", 5), ("b", 5)]
    assert count_values(payloads, "tags") == [("t", 10)]


@pytest.mark.parametrize(
    ("value", "days"),
    [
        ("2019-07", ["2019-07-01", "2019-07-31"]),
        (">=0900", ["0900-01-01", ""]),
        ("<0001", None),
        ("spring", None),
    ],
)
def test_the_days_of_a_filter(value, days):
    assert describe_days(make_filters({"taken": value})) == days


def test_folders_are_a_tree():
    counts = [("/in/a", 1), ("/in/a/b", 2), ("/other/a", 3)]
    wanted = FieldFilter(("/gone",), ("/in/a/b",))
    first, second, gone = describe_folders(counts, wanted)
    assert (first["value"], first["label"], first["count"]) == ("/in/a/**", "in/a", 3)
    assert [child["label"] for child in first["children"]] == ["b"]
    assert (second["value"], second["label"]) == ("/other/a", "other/a")
    assert (gone["value"], gone["label"], gone["count"]) == ("/gone", "gone", None)


def test_a_tree_of_folders_that_are_very_deep_can_be_sent():
    folders = ["/in" + "/a" * depth for depth in range(1500)]
    tree = describe_folders([(folder, 1) for folder in folders], FieldFilter((folders[-1],)))
    node, chosen = json.loads(json.dumps(tree))
    assert (node["value"], node["count"]) == ("/in/**", 1500)
    levels = 1
    while node["children"]:
        (node,) = node["children"]
        levels += 1
    assert (levels, node["value"], node["count"]) == (100, folders[99] + "/**", 1401)
    assert chosen["value"] == folders[-1]


def test_folders_of_one_name_are_told_apart():
    counts = [("/in/a/raw", 1), ("/in/b/raw", 2), ("/in/b/c", 3)]
    labels = [value["label"] for value in describe_values("folder", counts)]
    assert labels == ["a/raw", "b/raw", "c"]


@pytest.mark.parametrize(
    ("wanted", "days"),
    [
        ("2019-07-04..2020-01-31", ["2019-07-04", "2020-01-31"]),
        ("2019", ["2019-01-01", "2019-12-31"]),
        ("..2019-02", ["", "2019-02-28"]),
        (">=2019-07", ["2019-07-01", ""]),
        ({"not": "2019"}, None),
        (["2018", "2020"], None),
        ("spring", None),
    ],
)
def test_a_range_of_days_is_in_its_two_fields_or_among_other_filters(wanted, days):
    filters = make_filters({"taken": wanted})
    assert describe_days(filters) == days
    others = describe_others(Search(filters=filters))
    assert [other["key"] for other in others] == ([] if days else ["taken"])
