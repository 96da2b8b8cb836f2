"""The starter's lexicon: the look-up in small tables, and words of many languages in its own."""

from __future__ import annotations

import pytest

from embedder.families.starter import LEXICON_FILE
from embedder.families.starter.translation import (
    TranslationLexicon,
    normalize_word,
    split_words,
)

TABLES = {
    "de": {"hund": "dog", "rot": "red", "kuh": "cow", "huhn": "chicken", "auf": "", "der": "",
           "spielzeug": "toy", "auto": "car", "gift": "poison", "flasche": "bottle",
           "foto": "photo"},
    "en": {"dog": "", "gift": "", "beach": "", "on": "", "the": "", "wolves": "wolf", "bus": ""},
    "fr": {"chat": "cat", "noir": "black", "eau": "water", "bus": "bus", "vert": "green"},
    "ja": {"犬": "dog", "赤い": "red", "車": "car", "の": "", "はた": "flag"},
    "vi": {"chó": "dog", "cho": "market"},
    "ar": {"كلب": "dog"},
    "pl": {"pies": "dog"},
    "es": {"pies": "footprints"},
    "und": {"pies": "dog"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Hund", "dog"),
        ("«Hund!»", "dog"),
        ("ein rot hund", "red dog"),
        ("Kühe", "cow"),
        ("Hühner auf der Kuh", "chicken cow"),
        ("Spielzeugauto", "toy car"),
        ("Spielzeug-Auto", "toy car"),
        ("gift", ""),  # an English word
        ("gift flasche", "poison bottle"),  # whose neighbor is German
        ("the dogs on the beach", ""),
        ("wolves", "wolf"),
        ("l’eau", "water"),
        ("bus vert", "bus green"),
        ("赤い車", "red car"),
        ("車の中", "car"),
        ("車 の はた", "car flag"),
        ("あはたああ", ""),  # by chance
        ("chó", "dog"),
        ("pies", "dog"),
        ("الكلب", "dog"),
        ("كَلْب", "dog"),
        ("nothing", ""),
        ("Foto: Hund", "dog"),
        ("ein Foto", "photo"),
        ("ein Foto: bus", "bus"),  # in two languages
        ("rotes Gift", "red poison"),  # one word is German as it is, one is a form, and one English
        ("a sentence that is of as many as fourteen words, has one hund and one kuh", ""),
        ("", ""),
        ("!", ""),
    ],
)
def test_words_are_looked_up(text, english):
    assert TranslationLexicon(TABLES).translate(text) == english


@pytest.mark.parametrize(
    ("text", "languages"),
    [("Hund", "de"), ("犬", "ja"), ("pies", "pl"), ("wolves", "en"), ("dog", None), ("xyz", None)],
)
def test_a_translation_says_from_which_language(text, languages):
    found = TranslationLexicon(TABLES).find_translation(text)
    assert (" ".join(found.languages) if found else None) == languages


def test_words_are_spelled_in_one_way():
    assert normalize_word("  ＤＯＧ! ") == "dog"
    assert split_words("Ñu-ISPANAK, Œuf") == ["nu", "ispanak", "oeuf"]
    assert split_words("İSTANBUL ıspanak") == ["istanbul", "ispanak"]
    assert split_words("Γάτες") == split_words("γατεσ")
    assert split_words("chó", "vi") == ["chó"]
    assert split_words("सड़क।") == split_words("सडक")
    assert split_words("ガ") == ["ガ"]


@pytest.fixture(scope="module")
def shipped() -> TranslationLexicon:
    return TranslationLexicon.read(LEXICON_FILE)


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("KÜHE", "cow"),
        ("Katzen", "cat"),
        ("ein Hund im Schnee", "dog snow"),
        ("Feuerwehrauto", "fire engine"),
        ("un chat noir", "black cat"),
        ("ours polaire", "polar bear"),
        ("lapin", "rabbit"),  # a rare English word too
        ("schwarzer Hut", "black hat"),
        ("ein Bild: fish", "fish"),
        ("ein Foto von einem roten Auto", "red automobile"),
        ("犬の写真", "dog"),
        ("車", "car"),
        ("城", "castle"),
        ("gatos", "cat"),
        ("perros", "dog"),
        ("cane", ""),  # an English word
        ("cavallo", "horse"),
        ("cachorro", "dog"),
        ("hest", "horse"),
        ("kissat", "cat"),
        ("kutyák", "dog"),
        ("pies", "dog"),
        ("собаки", "dog"),
        ("банан", "banana"),
        ("Γάτες", "cats"),
        ("KÖPEK", "dog"),
        ("ISPANAK", "spinach"),
        ("con chó", "dog"),
        ("الكلب", "dog"),
        ("הכלב", "dog"),
        ("एक गाय।", "cow"),
        ("消防車", "fire engine"),
        ("大象", "elephant"),
        ("相机", "camera"),
        ("고양이", "cat"),
        ("ช้าง", "elephant"),
        ("wolves", "wolf"),
        ("geese", "goose"),
        ("a dog on the beach", ""),
        ("the dogs are running", ""),
    ],
)
def test_everyday_words_of_many_languages_are_known(shipped, text, english):
    assert shipped.translate(text) == english
