"""Tokens in every script, and their weights."""

from __future__ import annotations

import math

import pytest

from indexer.search.bm25 import (
    AVERAGE_LENGTH,
    K1,
    B,
    build_document_vector,
    build_query_vector,
    tokenize,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A Red-Ball, 2 балла", ["a", "red", "ball", "2", "балла"]),
        ("Ｃａｆé STRASSE straße", ["cafe", "strasse", "strasse"]),
        ("犬が走る", ["犬が", "が走", "走る"]),
        ("iPhone犬x", ["iphone", "犬", "x"]),
        ("कुत्ता दौड़ता", ["कुत्ता", "दौड़ता"]),
        ("הכלב רץ", ["הכלב", "רץ"]),
        ("!!! … —", []),
    ],
)
def test_tokens(text, words):
    assert list(tokenize(text)) == words


def test_part_of_a_text_without_spaces_matches():
    asked = set(build_query_vector("東京").indices)
    assert asked <= set(build_document_vector("夜の東京タワー").indices)
    assert not asked & set(build_document_vector("京都の夜").indices)


def test_thai_matches_inside_a_sentence():
    assert set(build_query_vector("แมว").indices) <= set(build_document_vector("รูปแมวสีดำ").indices)


def test_the_weight_in_closed_form():
    vector = build_document_vector("cat cat dog")
    weights = dict(zip(vector.indices, vector.values, strict=True))
    (cat,) = build_query_vector("cat").indices
    length = K1 * (1 - B + B * 3 / AVERAGE_LENGTH)
    assert math.isclose(weights[cat], 2 * (K1 + 1) / (2 + length))


def test_indices_are_distinct_and_ascending():
    vector = build_document_vector("to be or not to be that is the question " * 50)
    assert list(vector.indices) == sorted(set(vector.indices))
    assert build_document_vector("").indices == ()
