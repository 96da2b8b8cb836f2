"""A search is a link: what is written to the address is what is read from it."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app.state import QueryChip, Search, parse_param


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
        filters=("kind=image",),
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
