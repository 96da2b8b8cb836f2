"""Words, function words and stems in every script; old indexes are still found by words."""

from __future__ import annotations

import pytest

from indexer.search.bm25 import build_document_vector, build_query_vector
from indexer.search.tokenizer import (
    FORM_SHARE,
    list_content_words,
    split_document,
    tokenize_query,
)

# 2 function words of a language and a caption that has them
FUNCTION_WORDS = {
    "en": ("in the", "a dog in the snow"),
    "de": ("auf der", "ein Hund auf der Wiese"),
    "fr": ("dans la", "un chien dans la neige"),
    "es": ("en la", "un perro en la nieve"),
    "it": ("sulla", "un cane sulla neve"),
    "pt": ("na", "um cachorro na neve"),
    "nl": ("op het", "een hond op het gras"),
    "sv": ("på den", "en hund på den gröna ängen"),
    "pl": ("na", "pies na śniegu"),
    "tr": ("ve bir", "kedi ve bir köpek"),
    "ru": ("на", "собака на снегу"),
    "ar": ("في", "كلب في الثلج"),
    "hi": ("में", "बर्फ में कुत्ता"),
    "ja": ("の", "雪の中の犬"),
    "zh": ("的", "红色的自行车"),
    "th": ("ใน", "แมวในบ้าน"),
}


def list_words(text: str, language: str | None = None) -> list[str]:
    return [word.text for word in split_document(text, language) if not word.is_extra]


def matches(query: str, text: str, language: str | None = None) -> bool:
    document = build_document_vector(((text, language),))
    return not set(build_query_vector(query).indices).isdisjoint(document.indices)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A Red-Ball_x, 2 балла", ["Red", "Ball", "x", "2", "балла"]),
        ("the dog's ball; l’arbre", ["dog", "ball", "arbre"]),
        ("犬が走る", ["犬が", "が走", "走る"]),
        ("iPhone犬x", ["iPhone", "犬", "x"]),
        ("कुत्ता दौड़ता", ["कुत्ता", "दौड़ता"]),
        ("הכלב רץ", ["הכלב", "רץ"]),
        ("!!! … —", []),
        ("", []),
    ],
)
def test_words(text, words):
    assert list_words(text) == words


@pytest.mark.parametrize("language", FUNCTION_WORDS)
def test_function_words_match_nothing(language):
    words, caption = FUNCTION_WORDS[language]
    assert not matches(words, caption, language)
    assert not matches(words, caption)
    assert matches(caption, caption, language)


@pytest.mark.parametrize(
    ("query", "text", "language", "expected"),
    [
        ("red hat", "a man with a hat", "en", True),
        ("hat", "hat", None, True),  # a tag
        ("hat", "Der Mann hat einen Hund", "de", False),
        ("hat", "Der Mann hat einen Hund", None, False),
        ("der Mann hat einen Hund", "a hat", "en", False),
        ("sea", "que sea verde", "es", False),
        ("die Katze", "die Hunde", "de", False),
        ("man in the sea", "a man", "en", True),
        ("fur coat", "für Kinder", "de", False),
    ],
)
def test_a_function_word_of_one_language_is_a_word_of_another(query, text, language, expected):
    assert matches(query, text, language) is expected


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("a dog in the snow", ["dog", "snow"]),
        ("雪の中の犬", ["雪", "犬"]),
        ("the the", []),
        ("red hat", ["red", "hat"]),
        ("der Mann hat einen Hund", ["Mann", "Hund"]),
    ],
)
def test_content_words(query, words):
    assert list_content_words(query) == words


def test_function_words_alone_match_texts_that_have_no_other_words():
    assert matches("the the", "The The")
    assert matches("The Who", "the_who")
    assert not matches("the", "The The")
    assert not matches("the the", "The The live")


@pytest.mark.parametrize(
    ("query", "text", "language"),
    [
        ("run", "a running dog", "en"),
        ("bicycles", "a bicycle", "en"),
        ("Häuser", "ein Haus", "de"),
        ("Haus", "zwei Häuser am See", None),
        ("hauser", "Haus", "de"),
        ("chevaux", "un cheval", "fr"),
        ("gato", "dos gatos", "es"),
        ("gatti", "un gatto", "it"),
        ("gatos", "um gato", "pt"),
        ("katten", "een kat", "nl"),
        ("hundar", "en hund", "sv"),
        ("talot", "talo", "fi"),
        ("kočky", "kočka", "cs"),
        ("kediler", "bir kedi", "tr"),
        ("собаки", "собака на снегу", None),
        ("बिल्लियाँ", "एक बिल्ली", "hi"),
        ("고양이", "고양이가", "ko"),
        ("bicycle", "red-bicycles_02", None),
        ("犬", "犬が走る", "ja"),
        ("猫の写真", "白い猫", "ja"),
        ("雪の中の犬", "犬", "ja"),
        ("自行车", "红色的自行车", "zh"),
        ("แมว", "รูปแมวสีดำ", "th"),
    ],
)
def test_inflections_match(query, text, language):
    assert matches(query, text, language)


@pytest.mark.parametrize(
    ("query", "text", "language"),
    [
        ("cara", "a car", "en"),  # Spanish: face; its stem is "car"
        ("manos", "a man", "en"),
        ("東京", "京都の夜", "ja"),
        ("2019", "20190", None),
        ("IMG_0123", "DSC_0124", None),
    ],
)
def test_other_words_do_not_match(query, text, language):
    assert not matches(query, text, language)


@pytest.mark.parametrize("name", ["IMG_0123", "RX-7", "2019", "Müller", "new_york", "O'Brien"])
def test_names_and_numbers_match_as_they_are(name):
    assert matches(name, f"{name} at home", "en")
    assert matches(name, name)


@pytest.mark.parametrize(
    ("query", "stored"),
    [
        ("running", ["running"]),
        ("new_york", ["new_york"]),
        ("猫の写真", ["猫の", "の写", "写真"]),
        ("犬が走る", ["犬が", "が走", "走る"]),
        ("Café", ["cafe"]),
    ],
)
def test_indexes_without_stems_are_found(query, stored):
    assert set(stored) <= tokenize_query(query).keys()


def test_a_word_has_the_weight_of_its_form_and_its_stems():
    (word,) = split_document("running", "en")
    assert dict(word.tokens) == {"running": FORM_SHARE, "en:run": 1 - FORM_SHARE}
    for text, language in [("un chat noir", None), ("Häuser", "de"), ("犬", "ja"), ("7", None)]:
        for word in split_document(text, language):
            assert sum(share for _, share in word.tokens) == pytest.approx(1)
