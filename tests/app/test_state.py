"""A search is a link: what is written to the address is what is read from it."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app.state import Piece, Search, read_piece, typed


@pytest.mark.parametrize(
    "piece",
    [
        Piece("a red dress"),
        Piece("people", wanted=False),
        Piece("sunset", 2.0),
        Piece("赤い車", 0.5, wanted=False),
        Piece("id:0b8f9ad4-6a5c-5a3e-8d53-7f1d3c2b1a00", wanted=False),
        Piece("img:" + "a" * 32, 4.0),
        Piece("-40 degrees"),
        Piece("+more"),
        Piece("12:30 at the station"),
    ],
)
def test_a_piece_survives_the_address(piece):
    assert read_piece(piece.code) == piece


def test_what_is_typed_may_carry_a_sign_and_a_weight():
    assert typed("-people") == Piece("people", wanted=False)
    assert typed("2:sunset") == Piece("sunset", 2.0)
    assert typed("+sea") == Piece("sea")


def test_words_are_never_a_file_of_the_server():
    assert typed("/etc/passwd.jpg").rest == "/etc/passwd.jpg"
    assert read_piece("/etc/hostname.png").part().text == "/etc/hostname.png"


def test_the_whole_search_survives_the_address():
    search = Search(
        "default", (Piece("cat"), Piece("dog", 2.0, False)), ("kind=image",), 3, 0.5, False, 48
    )

    def page(search):
        import streamlit as st

        from app import state

        state.write(search)
        st.session_state["back"] = state.read()

    tested = AppTest.from_function(page, args=(search,)).run()
    assert not tested.exception
    assert tested.session_state["back"] == search
