"""The syntax of queries, by tables: what is typed, and the terms that it stands for."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import QueryError
from indexer.search.query_syntax import (
    format_terms,
    is_image_name,
    load_term,
    parse_arguments,
    parse_query,
    parse_saved_term,
    parse_terms,
)
from indexer.types import QueryTerm

ID = "0b8f9ad4-6a5c-5a3e-8d53-7f1d3c2b1a00"
UPLOAD = "img:" + "a" * 32


def is_upload(name: str) -> bool:
    return re.fullmatch("img:[0-9a-f]{32}", name) is not None


def text(words: str, weight: float = 1.0) -> QueryTerm:
    return QueryTerm(text=words, weight=weight)


def image(name: str, weight: float = 1.0) -> QueryTerm:
    return QueryTerm(image=name, weight=weight)


def point(weight: float = 1.0) -> QueryTerm:
    return QueryTerm(id=ID, weight=weight)


QUERIES = {
    # words form one text
    "sea": [text("sea")],
    "a red bicycle -nature": [text("a red bicycle"), text("nature", -1)],
    "a red -nature bicycle": [text("a red bicycle"), text("nature", -1)],
    "-nature a red bicycle": [text("nature", -1), text("a red bicycle")],
    "  a \n red\tbicycle ": [text("a red bicycle")],
    "1984: a book": [text("1984: a book")],
    "2:sunset": [text("2:sunset")],
    ".5:fog": [text(".5:fog")],
    "1:1": [text("1:1")],
    "12:30 at the station": [text("12:30 at the station")],
    "a.b": [text("a.b")],
    "": [],
    " ": [],
    # signs
    "-people": [text("people", -1)],
    "+sea -people": [text("sea"), text("people", -1)],
    "-a -b": [text("a", -1), text("b", -1)],
    "e-mail": [text("e-mail")],
    "-e-mail": [text("e-mail", -1)],
    "-40 degrees": [text("-40 degrees")],
    "-.5": [text("-.5")],
    "+1 555": [text("+1 555")],
    "C++ -C++": [text("C++"), text("C++", -1)],
    "New York - at night": [text("New York - at night")],
    "-": [text("-")],
    "--json": [text("--json")],
    "-> -_- ^_^": [text("-> -_- ^_^")],
    "-don't": [text("don't", -1)],
    "rock 'n' roll": [text("rock 'n' roll")],
    # weights
    "sunset^2": [text("sunset", 2)],
    "beach sunset^.5 -people^0.25": [text("beach"), text("sunset", 0.5), text("people", -0.25)],
    "cat^1 dog^1": [text("cat"), text("dog")],
    "2^10": [text("2^10")],
    "sunset^": [text("sunset^")],
    "^2": [text("^2")],
    "sunset^two": [text("sunset^two")],
    "sunset^2x": [text("sunset^2x")],
    "E=mc\\^2": [text("E=mc^2")],
    # quotation marks
    '"old people"': [text("old people")],
    '-"old people" city': [text("old people", -1), text("city")],
    'the "red car"^2': [text("the"), text("red car", 2)],
    '-"red car"^2': [text("red car", -2)],
    '"-40" "2^10"^2': [text("-40"), text("2^10", 2)],
    '"a -b^2"': [text("a -b^2")],
    'a "b c" d': [text("a b c d")],
    '"say \\"hi\\""': [text('say "hi"')],
    '"a""b"^2c': [text("a b ^2c")],
    '-"" ""': [],
    '"old people': [text('"old people')],
    "“a “b “c” d": [text("a “b “c d")],
    "“a “b c -d": [text("“a “b c"), text("d", -1)],
    '5" screw 6\'2"': [text('5" screw 6\'2"')],
    # a backslash
    "\\-40 \\-people": [text("-40 -people")],
    "-\\-40": [text("-40", -1)],
    '\\"old': [text('"old')],
    "\\photo.jpg \\id:x": [text("photo.jpg id:x")],
    "C:\\Users": [text("C:\\Users")],
    "\\": [text("\\")],
    "\\\\": [text("\\")],
    # images and points
    "photo.jpg": [image("photo.jpg")],
    "-photo.JPG^2 at night": [image("photo.JPG", -2), text("at night")],
    "-1984.png": [image("1984.png", -1)],
    "~/a.jpg -./b.webp": [image("~/a.jpg"), image("./b.webp", -1)],
    "photo.jpeg.txt jpg .jpg.": [text("photo.jpeg.txt jpg .jpg.")],
    f"id:{ID}": [point()],
    f"-id:{ID}^0.5 red": [point(-0.5), text("red")],
    f"id:{ID.upper()}": [point()],
    "id: card": [text("id: card")],
    # every script
    "赤い車 -人": [text("赤い車"), text("人", -1)],
    "赤い車\u3000－人": [text("赤い車"), text("人", -1)],
    "赤い車？": [text("赤い車？")],
    "＂古い家＂＾２ －＂赤い 車＂": [text("古い家", 2), text("赤い 車", -1)],
    "ラーメン": [text("ラーメン")],
    "“old people”^2 −„junge Leute“": [text("old people", 2), text("junge Leute", -1)],
    "море -люди^2": [text("море"), text("люди", -2)],
    "بحر -ناس": [text("بحر"), text("ناس", -1)],
    "ים \u200f-אנשים": [text("ים"), text("אנשים", -1)],
    "بحر^٢": [text("بحر", 2)],
    "ทะเล -คน": [text("ทะเล"), text("คน", -1)],
    "समुद्र -लोग": [text("समुद्र"), text("लोग", -1)],
    "🌅^2 -👨‍👩‍👧": [text("🌅", 2), text("👨‍👩‍👧", -1)],
}
WRONG = {
    "sunset^0": "not a weight",
    "sunset^-2": "-sunset",
    "sunset^101": "0.01 to 100",
    "sunset^" + "9" * 400: "0.01 to 100",
    "sunset^1,5": "not a weight",
    '"red car"^0': "not a weight",
    '-"old people': "not closed",
    "-“old people": "not closed",
    "id:7c0e": "UUID",
    "-id:7c0e": "UUID",
}
ARGUMENTS = [
    (["a red bicycle", "-nature"], "a red bicycle -nature"),
    (["a", "red", "bicycle", "-nature"], "a red bicycle -nature"),
    (["a red bicycle -nature"], "a red bicycle -nature"),
    (["-nature a red bicycle"], "-nature a red bicycle"),
    (["city", "-old people"], 'city -"old people"'),
    (["-old people", "city"], '-"old people" city'),
    (["the", "red car^2"], 'the "red car"^2'),
    (["the", "-red car^2"], 'the -"red car"^2'),
    (["city", '-"old people"'], 'city -"old people"'),
    (["city", "-old people -cars"], "city -old people -cars"),
    (["city", "a -b c^2"], "city a -b c^2"),
    (["city", "-40 degrees"], "city -40 degrees"),
    (["city", "-e-mail of C:\\new"], 'city -"e-mail of C:\\new"'),
    (["photo.jpg", "but at night"], "photo.jpg but at night"),
    (["my holiday.jpg"], '"my holiday.jpg"'),
    (["-my holiday.jpg^2", "sea"], '-"my holiday.jpg"^2 sea'),
    (["no holiday.jpg"], "no holiday.jpg"),
    (["", " ", "x"], "x"),
]


@pytest.mark.parametrize(("query", "terms"), QUERIES.items())
def test_what_is_typed(query, terms):
    assert parse_terms(query, is_image_name) == tuple(terms)


@pytest.mark.parametrize(("query", "message"), WRONG.items())
def test_what_cannot_be_meant(query, message):
    with pytest.raises(QueryError, match=re.escape(message)):
        parse_terms(query, is_image_name)


@pytest.mark.parametrize(("arguments", "query"), ARGUMENTS)
def test_arguments_of_a_command_line(arguments, query, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my holiday.jpg").touch()
    assert parse_arguments(arguments) == parse_terms(query, is_image_name)


texts = st.text(min_size=1).map(str.strip).filter(bool)
weights = st.floats(0.01, 100) | st.floats(-100, -0.01) | st.sampled_from([1.0, -1.0, 2.0])


@given(
    st.lists(
        st.builds(QueryTerm, text=texts | st.sampled_from([*QUERIES, *WRONG]), weight=weights)
        | st.builds(QueryTerm, image=st.just(UPLOAD), weight=weights)
        | st.builds(QueryTerm, id=st.just(ID), weight=weights),
        max_size=4,
    ).filter(lambda terms: all(t.text is None or t.text.strip() for t in terms))
)
def test_what_is_written_is_read_again(terms):
    terms = [t if t.text is None else text(t.text.strip(), t.weight) for t in terms]
    assert parse_terms(format_terms(terms), is_upload) == tuple(terms)


@given(st.text())
def test_any_text_is_a_query_or_an_error(query):
    try:
        terms = parse_terms(query, is_image_name)
    except QueryError:
        return
    assert all(term.content.strip() for term in terms)


@pytest.mark.parametrize("query", ["“ " * 30000, "„x " * 30000, '"\\' * 30000, "a^1" * 30000])
def test_a_long_query_takes_no_longer_than_its_length(query):
    start = time.perf_counter()
    parse_terms(query, is_image_name)
    assert time.perf_counter() - start < 5  # with quadratic time, a minute


@pytest.mark.parametrize(
    ("terms", "written"),
    [
        ([text("a red bicycle"), text("nature", -1)], "a red bicycle -nature"),
        ([text("cat"), text("dog")], "cat dog^1"),
        ([text("cat"), text("at night"), point(-2)], f'cat "at night"^1 -id:{ID}^2'),
        ([text("-40 degrees")], "-40 degrees"),
        ([text("-people")], '"-people"'),
        ([text("old people", -0.5)], '-"old people"^0.5'),
        ([text("1984: a book")], "1984: a book"),
        ([image("my holiday.jpg", -1)], '-"my holiday.jpg"'),
        ([text("photo.jpg")], '"\\photo.jpg"'),
        ([text('5" screw')], '"5\\" screw"'),
    ],
)
def test_how_terms_are_written(terms, written):
    assert format_terms(terms) == written


@pytest.mark.parametrize(
    ("saved", "term"),
    [
        ("a red dress", text("a red dress")),
        ("beach -people sunset^2", text("beach -people sunset^2")),
        ("+sea", text("sea")),
        ("-people", text("people", -1)),
        ("2:sunset", text("sunset", 2)),
        (".5:fog", text("fog", 0.5)),
        ("-0.5:dark clouds", text("dark clouds", -0.5)),
        ("0:sunset", text("sunset", 0.01)),
        ("1000:sunset", text("sunset", 100)),
        ("12:30 at the station", text("12:30 at the station")),
        ("\\-40 degrees", text("-40 degrees")),
        ("\\2:1 odds", text("2:1 odds")),
        (f"-2:id:{ID}", point(-2)),
        (UPLOAD, image(UPLOAD)),
        ("-", text("-")),
        ("2: ", text("2:")),
    ],
)
def test_a_term_saved_by_an_earlier_version(saved, term):
    assert parse_saved_term(saved) == term
    assert parse_terms(format_terms([term]), is_upload) == (term,)


def test_an_image_is_opened(tmp_path, photo):
    path = photo(tmp_path / "my red.jpg", "red", (80, 60))
    (term,) = parse_arguments([f"-{path}^2"])
    part = load_term(term)
    assert part.image.size == (80, 60)
    assert (part.weight, part.label) == (-2, "my red.jpg")
    (tmp_path / "x.jpg").write_text("no image")
    with pytest.raises(QueryError, match=r"x\.jpg cannot be searched with"):
        load_term(image(str(tmp_path / "x.jpg")))
    with pytest.raises(QueryError, match="no image"):
        load_term(image(str(tmp_path / "blue.jpg")))


def test_a_query_opens_files_only_where_it_may(tmp_path, photo):
    path = photo(tmp_path / "red.jpg", "red", (80, 60))
    words, negative = parse_query(f"{path} at night -people")
    assert (words.text, negative.weight) == (f"{path} at night", -1)
    first, words = parse_query(f"{path} at night", images=True)
    assert (first.image.size, words.text) == ((80, 60), "at night")


@pytest.mark.parametrize("query", ["7:eleven", "1984: a book"])
def test_numbers_before_a_colon_are_text(query):
    assert parse_terms(query, is_image_name) == (QueryTerm(text=query),)


OTHER_EXTENSIONS = ["jfif", "jpe", "mpo", "hif", "apng", "dib", "j2k", "pgm", "qoi", "avifs"]


@pytest.mark.parametrize("extension", OTHER_EXTENSIONS)
def test_every_extension_of_images_is_one_where_there_is_such_a_file(tmp_path, extension):
    path = tmp_path / f"x.{extension.upper()}"
    assert not is_image_name(str(path))
    path.touch()
    assert is_image_name(str(path))
    term = QueryTerm(text=f"x.{extension}")
    assert parse_terms(format_terms([term]), lambda name: name == term.text) == (term,)


def test_a_file_with_another_name_is_an_image_by_its_content(tmp_path):
    (tmp_path / "scan.001").write_bytes(b"GIF89a")
    (tmp_path / "scan.002").write_bytes(b"a text")
    assert is_image_name(str(tmp_path / "scan.001"))
    assert not is_image_name(str(tmp_path / "scan.002"))
    assert not is_image_name(str(tmp_path / "scan.003"))
