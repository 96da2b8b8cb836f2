"""Text from outside, made safe: each table tries the neighbors of what is named in a guide."""

from __future__ import annotations

import json
from html import unescape

import pytest

from embedder.escaping import dump_json, escape_cell, escape_markdown, replace_unprintable

STEERING = [
    *map(chr, range(32)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068",
    *"\u2069\ufeff\ufff9\ufffe\U000e0001\U000e0041\ud800\udc80\udfff",
]
READABLE = [
    "日本　語",
    "می\u200cخواهم",
    "👩\u200d🚀 ❤\ufe0f",
    "a\u00a0b",
    "e\u0301",
    "𝔘",
    "naïve — “x”",
]


@pytest.mark.parametrize("character", STEERING, ids=ascii)
def test_nothing_steers_a_terminal_or_breaks_json(character):
    text = f"a{character}b"
    assert replace_unprintable(text) == "a\ufffdb"
    for ascii_only in (False, True):
        line = dump_json({text: [text]}, ascii_only=ascii_only)
        assert character not in line
        assert json.loads(line.encode().decode()) == {text: [text]}


@pytest.mark.parametrize("text", READABLE)
def test_what_can_be_read_stays(text):
    assert replace_unprintable(text) == text
    assert dump_json(text) == f'"{text}"'
    assert escape_cell(text) == text


@pytest.mark.parametrize("text", ["one\ntwo", "one\ttwo"])
def test_what_is_to_be_kept_is_kept(text):
    assert replace_unprintable(text, keep="\n\t") == text


FORMULAS = [
    *("=1+1", "+cmd", "-cmd", "@SUM(1)", " =1", "\u00a0=1", "\u3000=1"),
    *(
        "＝1",
        "＋1x",
        "－1x",
        "＠x",
        "﹦1",
        "﹢x",
        "﹣x",
        "﹫x",
        '"=1"',
        "-2+3",
        "--5",
        "+-1",
        "=-1",
    ),
    *("-1e5x", "- item", "+49 170 1234", "-1;2", "=", "-"),
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_finds_no_formula(text):
    assert escape_cell(text).startswith("'")
    assert escape_cell(text)[1:] == replace_unprintable(text)


@pytest.mark.parametrize("text", ["\t=1", "\r=1", "\n=1", "\tx", "\rx", "\nx", "x\r\n=1", "x\n =1"])
def test_a_line_of_a_cell_begins_no_formula(text):
    escaped = escape_cell(text)
    assert "\n=" not in escaped and "\t=" not in escaped and "\r=" not in escaped
    assert escaped.replace("'", "") == text
    assert escaped != text


@pytest.mark.parametrize("text", ["x;=1", "x; =1", 'x;"=1"', "x\t+1x", "x;@y"])
def test_where_spreadsheets_split_at_semicolons_no_formula_begins(text):
    assert escape_cell(text).count("'") == 1


@pytest.mark.parametrize(
    "text", ["-5", "+5", "-0.25", "-1,5", "-1e-5", "5%", "", "a=b", "a-b", "x, -y", "it's", "/a/=b"]
)
def test_numbers_and_other_texts_stay(text):
    assert escape_cell(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a*b*/~c~.jpg", r"a\*b\*/\~c\~.jpg"),
        ("snake_case (1).jpg", r"snake\_case (1).jpg"),
        ("1. one", r"1\. one"),
        ("1) one", r"1\) one"),
        ("- x", r"\- x"),
        ("a - b", "a - b"),
        ("43.2 (40.1 to 46.3)", "43.2 (40.1 to 46.3)"),
        ("    code", "code"),
        ("a\n\n# b", r"a \# b"),
        ("![x](y)", r"!\[x\](y)"),
        ("<b>&amp;", r"&lt;b\>&amp;amp;"),
        (":red[x]", r"\:red\[x\]"),
        ("a\u202eb\udc80", "a\ufffdb\ufffd"),
    ],
)
def test_markdown_is_shown_as_text(text, escaped):
    assert escape_markdown(text) == escaped


@pytest.mark.parametrize(
    "text",
    [":smile:", ":material/x:", ":streamlit:", "http://a.b", "www.a.b", "a@b.cd", "a -> b", "--"],
)
def test_what_is_replaced_even_where_it_is_escaped_is_taken_apart(text):
    escaped = escape_markdown(text)
    assert escaped.count("\u2060") >= 1
    assert unescape(escaped.replace("\u2060", "").replace("\\", "")) == text
