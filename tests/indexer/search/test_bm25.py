"""The weights of tokens."""

from __future__ import annotations

import math

from indexer.search.bm25 import (
    AVERAGE_LENGTH,
    K1,
    B,
    build_document_vector,
    build_query_vector,
    hash_token,
)


def test_the_weight_in_closed_form():
    vector = build_document_vector((("cats cat a dog", "en"),))
    weights = dict(zip(vector.indices, vector.values, strict=True))
    norm = K1 * (1 - B + B * 3 / AVERAGE_LENGTH)  # three words
    assert math.isclose(weights[hash_token("en:cat")], 0.6 * 2 * (K1 + 1) / (2 + norm))
    assert math.isclose(weights[hash_token("cat")], 0.4 * (K1 + 1) / (1 + norm))


def test_an_exact_match_has_the_weight_of_one_word():
    document = build_document_vector((("bicycles", "en"),))
    query = build_query_vector("bicycles")
    weights = dict(zip(document.indices, document.values, strict=True))
    norm = K1 * (1 - B + B / AVERAGE_LENGTH)
    score = sum(weights.get(index, 0.0) for index in query.indices)
    assert math.isclose(score, (K1 + 1) / (1 + norm))


def test_texts_beside_a_text_tell_the_language_of_its_words():
    tagged = build_document_vector((("ein Haus", "de"), ("Hunde", None)))
    assert hash_token("de:hund") in tagged.indices


def test_indices_are_distinct_and_ascending():
    vector = build_document_vector((("red and blue and red all over " * 5000, None),))
    assert list(vector.indices) == sorted(set(vector.indices))
    assert build_document_vector((("", None),)).indices == ()
