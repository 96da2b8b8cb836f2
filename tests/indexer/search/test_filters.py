"""Filters: their forms, their keys, and the conditions that they stand for."""

from __future__ import annotations

import pytest

from indexer.errors import QueryError
from indexer.search.filters import build_store_filter, make_filters, to_json_path
from indexer.stores.filters import matches_nothing, simplify_filter
from indexer.types import FieldFilter


def build(**filters):
    return build_store_filter(make_filters(filters))


@pytest.mark.parametrize(
    ("value", "any_of", "none_of"),
    [
        ("image", ("image",), ()),
        ("a, b", ("a, b",), ()),
        ('"x"', ('"x"',), ()),
        (["a", "b", "a"], ("a", "b"), ()),
        (2019, ("2019",), ()),
        (True, ("true",), ()),
        ([1.5, "x"], ("1.5", "x"), ()),
        ({"not": "text"}, (), ("text",)),
        ({"any": ["a", "b"], "not": ("c",)}, ("a", "b"), ("c",)),
    ],
)
def test_the_forms_of_a_filter(value, any_of, none_of):
    (made,) = make_filters({"kind": value}).values()
    assert made == FieldFilter(any_of, none_of)
    assert FieldFilter.from_value(made.to_value()) == made


@pytest.mark.parametrize(
    "value", [None, [], "", " ", ["a", ""], {}, {"any": []}, {"or": "a"}, [["a"]]]
)
def test_other_forms_are_errors(value):
    with pytest.raises(QueryError, match="the filter 'kind'"):
        make_filters({"kind": value})


def test_filters_are_a_mapping():
    with pytest.raises(QueryError, match="map payload keys"):
        make_filters("kind=image")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("kind", "kind"),
        (" tag ", "tags"),
        ("language", "languages"),
        ("price", "meta.price"),
        ("meta.year", "meta.year"),
        ("date taken", 'meta."date taken"'),
        ("EXIF:Make", 'meta."EXIF:Make"'),
        ("a.b", 'meta."a.b"'),
        ("Gro\u0308ße", 'meta."Größe"'),
        ('Width "in"', "meta.\"Width 'in'\""),
        ("a\\b", 'meta."a/b"'),
        ("x" * 70, "meta." + "x" * 64),
    ],
)
def test_the_path_of_a_key(name, path):
    (key,) = make_filters({name: "1"})
    assert to_json_path(key) == path
    assert make_filters({key: "1"}).keys() == {key}


def test_names_of_one_key_come_together():
    assert make_filters({"tag": "a", "tags": ["b"]}) == {"tags": FieldFilter(("a", "b"))}


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("2021", {"gte": 2021, "lte": 2021}),
        (" 2021 ", {"gte": 2021, "lte": 2021}),
        ("2019..2022", {"gte": 2019, "lte": 2022}),
        (" 2019 .. 2022 ", {"gte": 2019, "lte": 2022}),
        ("2019..", {"gte": 2019}),
        ("..2022", {"lte": 2022}),
        ("-1.5..-.5", {"gte": -1.5, "lte": -0.5}),
        (">=2019", {"gte": 2019}),
        (" > 3", {"gt": 3}),
        ("<3", {"lt": 3}),
        ("1e-05", {"gte": 1e-05, "lte": 1e-05}),
        ("1e+16", {"gte": 1e16, "lte": 1e16}),
        ("+5.", {"gte": 5, "lte": 5}),
    ],
)
def test_a_range_of_numbers(value, numbers):
    (condition,) = build(year=value).must[0].should
    assert condition.range.model_dump(exclude_none=True) == numbers


@pytest.mark.parametrize("value", ["old", "..", "1.2.3..4", "nan", "2019..soon"])
@pytest.mark.parametrize("form", [str, lambda value: {"not": value}])
def test_a_numeric_field_needs_a_number(value, form):
    with pytest.raises(QueryError, match="year is a number"):
        build(year=form(value))


def test_a_column_of_the_user_is_text_and_a_number():
    (any_of,) = build(price="12").must
    assert {condition.key for condition in any_of.should} == {"meta.price"}
    number, text = any_of.should
    assert (number.range.gte, number.range.lte, text.match.value) == (12, 12, "12")
    (only_text,) = build(price="1.2.3..4").must[0].should
    assert only_text.match.value == "1.2.3..4"


def test_values_are_compared_as_they_are_stored():
    """Captions are normalized, names of files are not."""
    value = "Gro\u0308ße"
    for key, stored in {"tags": "Größe", "note": "Größe", "name": value}.items():
        (condition,) = build(**{key: value}).must[0].should
        assert condition.match.value == stored
    assert build(folder=value).must[0].match.any == [value]


@pytest.mark.parametrize(
    "filters",
    [
        {"tags": {"any": "a", "not": "a"}},
        {"tags": {"any": ["a", "b"], "not": ["b", "a", "c"]}},
        {"year": {"any": "2019", "not": " 2019.0"}},
        {"year": {"any": "2019..2020", "not": ">2018"}},
        {"price": {"any": "12", "not": "12"}, "kind": "image"},
    ],
)
def test_a_contradiction_matches_nothing(filters):
    assert matches_nothing(simplify_filter(build(**filters)))


def test_dates_are_ranges_of_dates():
    (condition,) = build(taken="2019-07").must[0].should
    assert condition.key == "taken"
    assert condition.range.gte.isoformat().startswith("2019-07-01")
    with pytest.raises(QueryError, match=r"added is a date; write added=2019.*not 'soon'"):
        build(added="soon")


def test_what_is_excluded_of_several_keys():
    wanted = {"tags": {"not": ["a", "b"]}, "folder": {"not": "/x/"}, "kind": {"not": "text"}}
    found = build(**wanted)
    assert found.must is None
    assert [condition.key for condition in found.must_not] == ["tags", "tags", "folder", "kind"]
    both = build(kind="image", folder={"any": ["/", "/a/"], "not": "/a/b"})
    assert [c.match.any for c in (both.must[1], both.must_not[0])] == [["/", "/a"], ["/a/b"]]
    assert len(both.must) == 2
    assert build() is None


def test_a_number_in_a_keyword_is_no_range():
    (condition,) = build(name="2019").must[0].should
    assert condition.match.value == "2019"


@pytest.mark.parametrize("name", ["", "  ", "meta."])
def test_a_key_is_not_blank(name):
    with pytest.raises(QueryError, match=r"^a filter has no key; write key=value"):
        make_filters({name: "1"})
