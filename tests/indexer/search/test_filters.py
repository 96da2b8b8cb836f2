"""The syntax of filters, and the conditions that they stand for."""

from __future__ import annotations

import pytest

from indexer.errors import QueryError
from indexer.search.filters import build_store_filter, parse_filters


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
