"""The syntax of queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import QueryError
from indexer.search.query_syntax import (
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
