"""The syntax of filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import QueryError
from indexer.search.filter_syntax import format_filters, parse_filters
from indexer.search.filters import make_filters


@pytest.mark.parametrize(
    ("argument", "filters"),
    [
        ("kind=image", {"kind": "image"}),
        (" kind = image ", {"kind": "image"}),
        ("tag=a,b", {"tags": ["a", "b"]}),
        ("tag= a , b ,", {"tags": ["a", "b"]}),
        ('tag="x,y",z', {"tags": ["x,y", "z"]}),
        ('tag = "x,y" , z', {"tags": ["x,y", "z"]}),
        ('folder="a, b"', {"folder": "a, b"}),
        ('tag="say ""hi"""', {"tags": 'say "hi"'}),
        ('tag=5" disk', {"tags": '5" disk'}),
        ('tag=" a "', {"tags": " a "}),
        ("brand=x=y", {"meta.brand": "x=y"}),
        ("kind!=text", {"kind": {"not": "text"}}),
        ("tag != a,b", {"tags": {"not": ["a", "b"]}}),
        ("year!=2019..2021", {"year": {"not": "2019..2021"}}),
        ("year=2019..2022", {"year": "2019..2022"}),
        ("year=>=2019", {"year": ">=2019"}),
        ("year>=2019", {"year": ">=2019"}),
        ("width < 800", {"width": "<800"}),
        ("date taken=2019", {"meta.date taken": "2019"}),
        ('"date taken"=2019', {"meta.date taken": "2019"}),
        ('meta."date taken"=2019', {"meta.date taken": "2019"}),
        ("meta.year=2019", {"meta.year": "2019"}),
        ("EXIF:Make=Canon", {"meta.EXIF:Make": "Canon"}),
        ("Width (cm)=30", {"meta.Width (cm)": "30"}),
        ("a.b[0]=1", {"meta.a.b[0]": "1"}),
        ('"a=b"=1', {"meta.a=b": "1"}),
        ('"wow!"!=1', {"meta.wow!": {"not": "1"}}),
        ("幅=30", {"meta.幅": "30"}),
        ('Width "in"=3', {"meta.Width 'in'": "3"}),
        ('"Width ""in"""=3', {"meta.Width 'in'": "3"}),
    ],
)
def test_a_filter(argument, filters):
    assert parse_filters([argument]) == make_filters(filters)


def test_several_filters():
    found = parse_filters(["tags=a,b", "tag=c", "tag!=d", "kind=image"])
    assert found == make_filters({"tags": {"any": ["a", "b", "c"], "not": "d"}, "kind": "image"})


@pytest.mark.parametrize(
    "argument",
    [
        "kind",
        "=x",
        "kind=",
        "!=x",
        "kind!=",
        "kind=,",
        'tag="a',
        'tag="a"b',
        'tag= "a',
        'tag=b, "a',
        '"a=b',
        'tag=""',
    ],
)
def test_what_is_not_a_filter(argument):
    with pytest.raises(QueryError, match="is not a filter"):
        parse_filters([argument])


@pytest.mark.parametrize("argument", ["tag>=5", "date taken>=2019-05", "kind<image"])
def test_text_cannot_be_compared(argument):
    with pytest.raises(QueryError, match="only numbers, and the dates"):
        parse_filters([argument])


def test_a_long_argument_takes_no_time():
    for argument in (
        "a" + " " * 100_000,
        "=" + " " * 100_000,
        "a=" + " " * 100_000 + '"',
        '"' * 99_999,
    ):
        with pytest.raises(QueryError):
            parse_filters([argument])


texts = st.text(min_size=1).filter(str.strip)
values = st.one_of(texts, st.lists(texts, min_size=1), st.fixed_dictionaries({"not": texts}))


@given(st.dictionaries(texts, values))
def test_filters_survive_their_written_form(given):
    try:
        filters = make_filters(given)
    except QueryError:  # a key of control characters
        return
    assert parse_filters(format_filters(filters)) == filters
