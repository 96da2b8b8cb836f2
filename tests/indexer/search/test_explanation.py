"""Why a hit was found: the picture, which caption, which word."""

from __future__ import annotations

import pytest

from indexer.search.explanation import find_reasons, format_reason


def make_payload(*captions: tuple[str, str | None], tags=(), name="IMG_0123.jpg") -> dict:
    return {
        "kind": "image",
        "name": name,
        "paths": [f"/photos/Beach holiday 2019/{name}"],
        "tags": list(tags),
        "captions": [{"text": text, "language": language} for text, language in captions],
    }


CAT = make_payload(
    ("A ginger cat looks into the camera", "en"),
    ("Zwei rote Katzen schauen in die Kamera", "de"),
    ("茶トラの猫がカメラを見ている", "ja"),
    tags=("animal", "Katze"),
    name="red-cat_02.jpg",
)


@pytest.mark.parametrize(
    ("query", "z", "phrases"),
    [
        ("cat", {"image": 3.2, "text": 0.4}, ["the picture looks like it"]),
        ("cat", {"image": 0.3, "text": 0.4}, []),
        (
            "cat",
            {"image": 1.6, "text": 2.4},
            ["its captions mean something like it", "the picture looks like it"],
        ),
        ("cat", {"name": 2.4}, ["the name “red cat” means something like it"]),
        (
            "eine rote Katze",
            {"image": 2.1, "text": 4.0, "bm25": 2.5},
            [
                "the caption “Zwei rote Katzen schauen in die Kamera” (de) has “rote”, “Katzen”",
                "the tag “Katze” is the word",
                "the picture looks like it",
            ],
        ),
        (
            "in the camera",
            {"image": 2.6, "bm25": 1.5},
            [
                "the picture looks like it",
                "the caption “A ginger cat looks into the camera” (en) has “camera”",
            ],
        ),
        (
            "カメラの前",
            {"bm25": 2.5},
            ["the caption “茶トラの猫がカメラを見ている” (ja) has “カメラ”"],
        ),
        ("猫の写真", {"bm25": 2.5}, ["the caption “茶トラの猫がカメラを見ている” (ja) has “猫”"]),
        ("red things", {"bm25": 2.5}, ["the file name “red-cat_02.jpg” has “red”"]),
        ("", {"image": 2.1}, ["the picture looks like it"]),
    ],
)
def test_reasons(query, z, phrases):
    assert list(map(format_reason, find_reasons(query, CAT, z))) == phrases


def test_words_are_named_only_where_the_index_found_some():
    assert find_reasons("cats", CAT, {"image": 0.1}) == ()


def test_the_only_caption_is_named_for_its_meaning():
    payload = make_payload(("Eine rote Katze", "de"))
    (reason,) = find_reasons("red cat", payload, {"text": 2.5})
    assert format_reason(reason) == "the caption “Eine rote Katze” (de) means something like it"


def test_the_folder_is_named_where_it_says_what_the_file_does_not():
    (reason,) = find_reasons("the sea", make_payload(), {"name": 2.5})
    assert format_reason(reason) == "the name “Beach holiday” means something like it"


def test_which_of_several_names_fits_is_not_known():
    payload = make_payload() | {"paths": ["/photos/orca.jpg", "/photos/whale.jpg"]}
    (reason,) = find_reasons("the sea", payload, {"name": 2.5})
    assert format_reason(reason) == "its names mean something like it"


def test_a_document():
    payload = {"kind": "text", "name": "notes.md", "tags": [], "captions": []}
    payload["text"] = "The dogs were running. " * 9
    reasons = find_reasons("running dog", payload, {"text": 3.0, "bm25": 2.0})
    assert list(map(format_reason, reasons)) == [
        "the text has “dogs”, “running”",
    ]


def test_a_long_caption_is_shortened():
    payload = make_payload(("a dog " + "on a very long road " * 20, "en"))
    (reason,) = find_reasons("dog", payload, {"bm25": 2.0})
    assert len(format_reason(reason)) < 120
