"""The syntax of queries and filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import QueryError
from indexer.search.query_syntax import (
    build_store_filter,
    parse_filters,
    parse_part,
    parse_parts,
)


@pytest.mark.parametrize(
    ("typed", "text", "weight"),
    [
        ("sea", "sea", 1),
        ("+sea", "sea", 1),
        ("-people", "people", -1),
        ("2:sunset", "sunset", 2),
        ("-0.5:dark clouds", "dark clouds", -0.5),
        (".5:fog", "fog", 0.5),
        ("12:30 at the station", "12:30 at the station", 1),
        ("\\-40 degrees", "-40 degrees", 1),
        (" 2:1 odds", "2:1 odds", 1),
        ("赤い車", "赤い車", 1),
        ("a.b", "a.b", 1),
        ("read me.txt", "read me.txt", 1),
    ],
)
def test_text(typed, text, weight):
    part = parse_part(typed)
    assert (part.text, part.weight) == (text, weight)


def test_an_image_is_a_file_that_exists(tmp_path, photo):
    path = photo(tmp_path / "red.jpg", "red", (80, 60))
    part = parse_part(f"-2:{path}")
    assert part.image.size == (80, 60)
    assert (part.weight, part.label) == (-2, "red.jpg")
    with pytest.raises(QueryError, match="no image"):
        parse_part(str(tmp_path / "blue.jpg"))


def test_a_file_that_is_not_an_image_is_an_error(tmp_path):
    (tmp_path / "x.jpg").write_text("no image")
    with pytest.raises(QueryError, match=r"x\.jpg cannot be searched with"):
        parse_part(str(tmp_path / "x.jpg"))


def test_a_point():
    assert parse_part("-id:abc").id == "abc"


@pytest.mark.parametrize("typed", ["-", "2:", "+ ", "-3:"])
def test_a_sign_without_content_is_an_error(typed):
    with pytest.raises(QueryError):
        parse_part(typed)


def test_empty_arguments_are_ignored():
    assert parse_parts(["", "  ", "x"]) == (parse_part("x"),)


@given(st.text(min_size=1).filter(lambda t: t.strip()))
def test_a_backslash_keeps_any_text(text):
    assert parse_part("\\" + text).text == text.strip()


def test_filters():
    found = parse_filters(["kind=image", "tags=a,b", "tags=c", "year=2019..2022", "brand=x=y"])
    assert found == {
        "kind": ("image",),
        "tags": ("a", "b", "c"),
        "year": ("2019..2022",),
        "brand": ("x=y",),
    }
    for wrong in ("kind", "=x", "kind="):
        with pytest.raises(QueryError, match="not a filter"):
            parse_filters([wrong])


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("2021", {"gte": 2021, "lte": 2021}),
        ("2019..2022", {"gte": 2019, "lte": 2022}),
        ("2019..", {"gte": 2019}),
        ("..2022", {"lte": 2022}),
        ("-1.5..-.5", {"gte": -1.5, "lte": -0.5}),
        (">=2019", {"gte": 2019}),
        ("<3", {"lt": 3}),
        ("1e-05", {"gte": 1e-05, "lte": 1e-05}),
        ("1e+16", {"gte": 1e16, "lte": 1e16}),
        ("+5.", {"gte": 5, "lte": 5}),
    ],
)
def test_a_range_of_numbers(value, numbers):
    (condition,) = build_store_filter({"year": (value,)}).must[0].should
    assert condition.range.model_dump(exclude_none=True) == numbers


@pytest.mark.parametrize("value", ["old", "..", "1.2.3..4", "nan", "2019..soon"])
def test_a_numeric_field_needs_a_number(value):
    with pytest.raises(QueryError, match="year is a number"):
        build_store_filter({"year": (value,)})


def test_a_column_of_the_user_is_text_and_a_number():
    (any_of,) = build_store_filter({"price": ("12",)}).must
    assert {condition.key for condition in any_of.should} == {"meta.price"}
    number, text = any_of.should
    assert (number.range.gte, number.range.lte, text.match.value) == (12, 12, "12")
    (only_text,) = build_store_filter({"price": ("1.2.3..4",)}).must[0].should
    assert only_text.match.value == "1.2.3..4"
