"""What is kept of captions, tags, columns, coordinates and names, and how much."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from indexer.captions.matching import Match, NameIndex, describe_matches, normalize_file_name
from indexer.captions.normalize import (
    FileCaptions,
    make_caption,
    merge_captions,
    merge_file_captions,
    normalize_key,
    normalize_tags,
    normalize_text,
    split_tags,
    to_payload_value,
)
from indexer.captions.places import Place, choose_place, make_place, parse_xmp_degrees
from indexer.types import Caption


def test_texts():
    assert normalize_text(" a \t b \n\n  c\x1b[2J\u2028d ") == "a b\nc [2J d"
    assert normalize_text("u\u0308") == "ü"
    assert normalize_text("a" * 2001) == "a" * 2000
    assert normalize_text("abcd efg", 5) == "abcd"
    assert normalize_text("x" * 6, 5) == "x" * 5
    assert normalize_text(" " * 8 + "a" * 13, 5) == "a" * 5  # blanks count four limits at most
    assert normalize_text(" " * 20 + "a", 5) == ""
    assert normalize_key('a "b" \\c' + "x" * 90) == "a 'b' /c" + "x" * 56


def test_captions_of_programs_are_left_out_only_of_images():
    assert make_caption(" DSC_0001 ", None, "embedded") is None
    assert make_caption(" DSC_0001 ", "de", "text") == Caption("DSC_0001", "de", "text")
    assert make_caption(" \n", None, "text") is None


def test_equal_captions_are_one_and_the_one_with_a_language_wins():
    plain, english, german = Caption("Cat"), Caption("cat", "en"), Caption("CAT", "de")
    dog = Caption("dog")
    assert merge_captions([plain, None, dog, english]) == (english, dog)
    assert merge_captions([english, plain, dog]) == (english, dog)
    assert merge_captions([plain, dog, english, german]) == (english, dog, german)
    assert merge_captions([english, english, plain, plain]) == (english,)
    assert len(merge_captions(Caption(str(n)) for n in range(40))) == 32


def test_tags():
    assert normalize_tags(["Rome", " rome ", "", "sea \n side"]) == ("Rome", "sea\nside")
    assert normalize_tags(["a" * 101]) == ("a" * 100,)
    assert normalize_tags(map(str, range(70))) == tuple(map(str, range(64)))
    assert split_tags("a, b; c") == ["a, b", " c"]
    assert split_tags("a|b\nc") == ["a", "b", "c"]
    assert split_tags("a,b，c、d") == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (True, "true"),
        (7, 7),
        ((1 << 63) - 1, (1 << 63) - 1),
        (1 << 63, str(1 << 63)),
        (10**200, "1" + "0" * 99),
        (-(1 << 63), str(-(1 << 63))),
        (date(2019, 7, 4), "2019-07-04"),
        (0.5, 0.5),
        (Decimal("0.5"), 0.5),
        (float("nan"), None),
        (Decimal("Infinity"), None),
        (" a  b ", "a b"),
        (" ", None),
        (None, None),
        ([1], None),
    ],
)
def test_values_of_columns(value, stored):
    found = to_payload_value(value)
    assert found == stored and type(found) is type(stored)


def test_what_several_places_say_together():
    rome, other = Place(41.9, 12.5, "exif"), Place(1, 2, "takeout")
    merged = merge_file_captions(
        [
            FileCaptions((Caption("a"),), ("x", "y"), {"k": 1, "l": 1}, place=other),
            FileCaptions((Caption("A"), Caption("b")), ("y", "z"), {"k": 2}, place=rome),
        ],
        "stamp",
    )
    assert merged == FileCaptions(
        (Caption("a"), Caption("b")), ("x", "y", "z"), {"k": 2, "l": 1}, "stamp", None, rome
    )
    many = merge_file_captions([FileCaptions(meta={str(n): n for n in range(70)})])
    assert many.meta == {str(n): n for n in range(64)}


@pytest.mark.parametrize(
    ("latitude", "longitude", "found"),
    [
        (90, 180, (90, 180)),
        (-90.0, -180.0, (-90, -180)),
        (90.1, 0, None),
        (0, 180.1, None),
        (0, 0, None),
        (0.0000001, -0.0000001, None),
        (0, 1, (0, 1)),
        (1.23456789, 2, (1.234568, 2)),
        ("1", 2, None),
        (1, None, None),
        (float("nan"), 1, None),
    ],
)
def test_coordinates(latitude, longitude, found):
    assert make_place(latitude, longitude, "exif") == (Place(*found, "exif") if found else None)


def test_the_most_trusted_coordinates_count():
    places = [Place(1, 1, "takeout"), None, Place(2, 2, "xmp"), Place(3, 3, "xmp")]
    assert choose_place(places) == Place(2, 2, "xmp")
    assert choose_place([None]) is None


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("48,12.06N", 48.201),
        ("48,12,3.6n", 48.201),
        (" 48,12.06 S ", -48.201),
        ("16,22,0W", -16.366667),
        ("16,22,0E", 16.366667),
        ("-48.201", -48.201),
        ("+48.201", 48.201),
        ("-16,30", -16.5),
        ("north", None),
        ("48N12", None),
    ],
)
def test_coordinates_of_xmp(text, degrees):
    assert parse_xmp_degrees(text) == (None if degrees is None else pytest.approx(degrees))


def test_names_of_files():
    assert normalize_file_name(" a\\.\\b.jpg ") == "a/b.jpg"
    assert normalize_file_name("10.15.30\u202fAM\u200b.jpg") == "10.15.30 AM.jpg"
    assert normalize_file_name("..") == ".."
    index = NameIndex(["a/x.jpg", "b/x.jpg", "a/Y.jpg", "y.jpg"])
    assert index.find("A/X.JPG") == Match(("a/x.jpg",), "case")
    assert index.find("a\\x.jpg") == Match(("a/x.jpg",), "form")
    assert index.find("z.jpg").name is None
    assert index.find_from_above("x.jpg", "/photos/a/") == Match(("a/x.jpg",), "folder")
    assert index.find_from_above("y.jpg", "/photos/b") == Match((), "folder")


def test_how_names_were_matched_in_words():
    matches = [("X.jpg", "x.jpg", "case"), ("a/y.jpg", "y.jpg", "folder")]
    assert list(describe_matches([*matches, ("Z.jpg", "z.jpg", "case")])) == [
        "2 names are in other letter case, such as 'X.jpg' for 'x.jpg'",
        "1 name is given from a folder above, such as 'a/y.jpg' for 'y.jpg'",
    ]
    assert list(describe_matches([])) == []
