"""A search is a link: what is written to the address is what is read from it."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app.state import QueryChip, Search, parse_param
from indexer.search.filters import make_filters


@pytest.mark.parametrize(
    "chip",
    [
        QueryChip("a red dress"),
        QueryChip("people", -1.0),
        QueryChip("sunset", 2.0),
        QueryChip("赤い車", -0.5),
        QueryChip("id:0b8f9ad4-6a5c-5a3e-8d53-7f1d3c2b1a00", -1.0),
        QueryChip("img:" + "a" * 32, 4.0),
        QueryChip("-40 degrees"),
        QueryChip("+more"),
        QueryChip("12:30 at the station"),
    ],
)
def test_a_chip_survives_the_address(chip):
    assert parse_param(chip.param) == chip


def test_what_is_typed_may_carry_a_sign_and_a_weight():
    assert parse_param("-people") == QueryChip("people", -1.0)
    assert parse_param("2:sunset") == QueryChip("sunset", 2.0)
    assert parse_param("+sea") == QueryChip("sea")


def test_words_are_never_a_file_of_the_server():
    assert parse_param("/etc/passwd.jpg").value == "/etc/passwd.jpg"
    assert parse_param("/etc/hostname.png").to_part().text == "/etc/hostname.png"


def test_the_whole_search_survives_the_address():
    search = Search(
        collection="default",
        chips=(QueryChip("cat"), QueryChip("dog", -2.0)),
        filters=make_filters(
            {"kind": "image", "tags": {"any": ["a, b", "c"], "not": '"d"'}, "date taken": 'x"'}
        ),
        page=3,
        diversity=0.5,
        fold=False,
        size=48,
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
