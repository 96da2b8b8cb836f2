"""A search is a link: what is written to the address is what is read from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from app.state import Search, parse_typed
from indexer.search.filters import make_filters
from indexer.types import QueryTerm

CAT = QueryTerm(text="cat", weight=-1.0)


ID = "0b8f9ad4-6a5c-5a3e-8d53-7f1d3c2b1a00"
UPLOAD = "img:" + "a" * 32


def test_words_are_never_a_file_of_the_server():
    (term,) = parse_typed("/etc/passwd.jpg")
    assert term == QueryTerm(text="/etc/passwd.jpg")
    search = Search(terms=parse_typed("/etc/hostname.png"))
    assert search.to_query(limit=1).parts[0].text == "/etc/hostname.png"


def test_an_upload_is_an_image():
    assert parse_typed(f"-{UPLOAD}^2 red") == (
        QueryTerm(image=UPLOAD, weight=-2.0),
        QueryTerm(text="red"),
    )


def test_how_the_parts_are_explained():
    (part,) = Search(terms=(QueryTerm(id=ID),)).to_query(limit=1).parts
    assert (part.id, part.label) == (ID, "a picture here")


def follow(**params) -> tuple[Search, dict[str, str]]:
    """The search at an address, and the address that it is written to."""

    def page():
        import streamlit as st

        from app import state

        st.session_state["search"] = state.read_url()
        state.write_url(st.session_state["search"])

    tested = AppTest.from_function(page)
    for name, value in params.items():
        tested.query_params[name] = value
    tested.run()
    assert not tested.exception
    return tested.session_state["search"], dict(tested.query_params)


@pytest.mark.parametrize(
    ("saved", "terms", "query"),
    [
        (["2:sunset"], [QueryTerm(text="sunset", weight=2.0)], "sunset^2"),
        ([".5:fog", "-cat"], [QueryTerm(text="fog", weight=0.5), CAT], "fog^0.5 -cat"),
        (["cat -dog"], [QueryTerm(text="cat -dog")], '"cat -dog"'),
        (["a", "b"], [QueryTerm(text="a"), QueryTerm(text="b")], "a b^1"),
        (["\\2:1 odds"], [QueryTerm(text="2:1 odds")], "2:1 odds"),
        ([f"-2:id:{ID}"], [QueryTerm(id=ID, weight=-2.0)], f"-id:{ID}^2"),
        ([UPLOAD], [QueryTerm(image=UPLOAD)], UPLOAD),
    ],
)
def test_a_link_of_an_earlier_version(saved, terms, query):
    search, address = follow(q=saved)
    assert search.terms == tuple(terms)
    assert address == {"query": query}
    assert follow(query=query)[0].terms == tuple(terms)


@pytest.mark.parametrize("query", ["1984: a book", "2:sunset", "a red bicycle -nature sunset^2"])
def test_a_link_is_what_was_typed(query):
    search, address = follow(query=query)
    assert search.terms == parse_typed(query)
    assert address == {"query": query}


def test_a_link_that_cannot_be_parsed_is_text():
    assert follow(query="sunset^0")[0].terms == (QueryTerm(text="sunset^0"),)


def test_the_whole_search_survives_the_address():
    search = Search(
        collection="default",
        terms=(QueryTerm(text="cat"), QueryTerm(text="dog", weight=-2.0)),
        filters=make_filters(
            {"kind": "image", "tags": {"any": ["a, b", "c"], "not": '"d"'}, "date taken": 'x"'}
        ),
        diversity=0.5,
        fold=False,
        sort="oldest",
    )

    def page(search):
        import streamlit as st

        from app import state

        state.write_url(search)
        st.session_state["back"] = state.read_url()

    tested = AppTest.from_function(page, args=(search,)).run()
    assert not tested.exception
    assert tested.session_state["back"] == search


@pytest.mark.parametrize(
    ("params", "filters"),
    [
        (["tags=a", "tags=b", "kind=image"], {"tags": ["a", "b"], "kind": "image"}),
        (["language=de", "year=2019..2022"], {"languages": "de", "year": "2019..2022"}),
        (['tags="a', "kind", "=x", "kind="], {"tags": '"a'}),
    ],
)
def test_links_of_earlier_versions_open(params, filters):
    def page(params):
        import streamlit as st

        from app import state

        st.query_params["w"] = params
        st.session_state["back"] = state.read_url().filters

    tested = AppTest.from_function(page, args=(params,)).run()
    assert tested.session_state["back"] == make_filters(filters)


def test_the_order_of_a_search_is_not_that_of_a_list():
    terms = (QueryTerm(text="cat"),)
    listed, searched = Search(sort="oldest"), Search(terms=terms, sort="oldest")
    assert (Search().order, Search(terms=terms).order, listed.order) == (
        "newest",
        "strength",
        "oldest",
    )
    assert listed.with_terms(terms).order == "strength", "the best match is no longer the first"
    assert searched.with_terms((QueryTerm(text="dog"),)).order == "oldest"
    assert searched.replace_term(0).order == "newest"
    spread = replace(searched, diversity=0.5)
    assert (spread.to_query(limit=5).diversity, spread.to_query(limit=5).sort) == (0.0, "oldest")
    assert replace(spread, sort="strength").to_query(limit=5).diversity == 0.5


def test_any_value_in_a_link_can_be_searched():
    search, _ = follow(mix="x", least="5", open="../secret", page="-3", sort="size")
    assert search == Search()
    assert search.open_id == ""
    assert follow(mix="nan")[0].diversity == 0
    assert follow(mix="7")[0].diversity == 1
    assert follow(open=ID)[0].open_id == ID
