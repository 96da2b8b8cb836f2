"""Google Takeout: which sidecar belongs to which picture, and what is taken from it."""

from __future__ import annotations

import json

import pytest

from indexer.captions.dates import Taken
from indexer.captions.places import Place
from indexer.captions.sidecar import parse_sidecar
from indexer.captions.sidecar_names import match_sidecars
from indexer.captions.takeout import key_of_cut_name, key_of_long_name, split_number

SUFFIX = "supplemental-metadata"
LONG = "Screenshot_20190704-101530_Some quite long app name_2.jpg"
EMOJI = "\N{CAT FACE}" * 40


def describe(image: str, value: dict[str, object]):
    return parse_sidecar(f"{image}.json", json.dumps(value).encode(), image)


TAKEOUT = {
    "title": "IMG_0001.jpg",
    "description": "A cat on a roof",
    "imageViews": "12",
    "creationTime": {"timestamp": "1689325200", "formatted": "14.07.2023, 09:00:00 UTC"},
    "photoTakenTime": {"timestamp": "1562256000", "formatted": "04.07.2019, 16:00:00 UTC"},
    "geoData": {"latitude": 48.201, "longitude": 16.3666667, "altitude": 0.0},
    "geoDataExif": {"latitude": 1.0, "longitude": 2.0, "altitude": 0.0},
    "people": [{"name": "Anna"}, {"name": "Björn"}, {}],
    "favorited": True,
    "url": "https://photos.google.com/photo/x",
    "googlePhotosOrigin": {"mobileUpload": {"deviceType": "ANDROID_PHONE"}},
}


@pytest.mark.parametrize("size", range(len(SUFFIX) + 1))
def test_the_suffix_may_be_cut_anywhere(size):
    sidecar = f"x.jpg.{SUFFIX[:size]}.json"
    assert match_sidecars(["x.jpg", sidecar]).by_image == {"x.jpg": [sidecar]}


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("x.jpg", "x.jpg.json"),
        ("x.jpg", "x.json"),
        ("x.jpg", f"x.{SUFFIX}.json"),
        ("x(1).jpg", "x.jpg(1).json"),
        ("x(1).jpg", f"x.jpg.{SUFFIX}(1).json"),
        ("x(12).jpg", "x.jpg.suppl(12).json"),
        ("x(1).jpg", "x(1).jpg.json"),
        ("x(1).jpg", f"x(1).jpg.{SUFFIX}.json"),
        ("x(1).jpg", "x(1).json"),
        ("x(1).jpg", f"x.{SUFFIX}(1).json"),
        ("v1.2(1).jpg", "v1.2.jpg(1).json"),
        ("x-edited.jpg", f"x.jpg.{SUFFIX}.json"),
        ("x-bearbeitet.jpg", "x.jpg.json"),
        ("x-edited(1).jpg", f"x.jpg.{SUFFIX}(1).json"),
        ("x-modifié.jpg", "x.HEIC.json"),
        (LONG, f"{LONG[:46]}.json"),
        (LONG.replace(".jpg", "(1).jpg"), f"{LONG[:46]}(1).json"),
        (f"{'a' * 44}.jpg", f"{'a' * 44}.j.json"),
        (f"{EMOJI}.jpg", f"{EMOJI[:23]}.json"),
        ("v1.2.jpg", f"v1.2.jpg.{SUFFIX}.json"),
        ("X.JPG", f"x.jpg.{SUFFIX}.json"),
    ],
)
def test_a_sidecar_is_found(image, sidecar):
    assert match_sidecars([image, sidecar]).by_image == {image: [sidecar]}


@pytest.mark.parametrize(
    "sidecar",
    [
        "x.mp4.json",
        f"x.MP4.{SUFFIX}.json",
        "x.jpg(1).json",
        f"x.jpg.{SUFFIX}(1).json",
        "metadata.json",
        "Metadaten.json",
        "métadonnées.json",
        "メタデータ.json",
        "x.jpg.supplementary.json",
        "user-generated-memory-titles.json",
    ],
)
def test_a_sidecar_of_something_else_is_not(sidecar):
    assert match_sidecars(["x.jpg", "x.mp4", sidecar]).by_image == {}


def test_second_pictures_of_one_name_have_their_own_sidecars():
    names = ["x.jpg", "x(1).jpg", "x-edited.jpg", "x.mp4"]
    sidecars = [f"x.jpg.{SUFFIX}.json", f"x.jpg.{SUFFIX}(1).json", f"x.mp4.{SUFFIX}.json"]
    assert match_sidecars([*names, *sidecars]).by_image == {
        "x.jpg": sidecars[:1],
        "x-edited.jpg": sidecars[:1],
        "x(1).jpg": sidecars[1:2],
    }


def test_an_edited_picture_with_a_sidecar_of_its_own_does_not_share():
    names = ["x.jpg", "x-edited.jpg", "x.jpg.json", "x-edited.jpg.json"]
    assert match_sidecars(names).by_image == {
        "x.jpg": ["x.jpg.json"],
        "x-edited.jpg": ["x-edited.jpg.json"],
    }


def test_a_cut_name_that_fits_two_files_counts_for_none():
    film = LONG.replace(".jpg", ".mp4")
    matches = match_sidecars([LONG, film, f"{LONG[:46]}.json"])
    assert matches.by_image == {}
    assert matches.ambiguous == {f"{LONG[:46]}.json": (LONG, film)}


def test_keys_of_names_that_are_cut():
    assert split_number("x(1).jpg") == split_number("x(1)") == ("x", "1")
    assert key_of_cut_name("x.jpg") is None
    assert key_of_cut_name(f"{'a' * 46}(2)") == ("a" * 46, "2")
    assert key_of_long_name(f"{'a' * 42}.jpg") is None
    assert key_of_long_name(f"{'a' * 43}(2).jpg") == (f"{'a' * 43}.jp", "2")
    no_unicode = "\udce9" * 60  # as Python has bytes of a name that are not UTF-8
    assert key_of_long_name(f"{no_unicode}.jpg") == (no_unicode[:46], "")


def test_what_is_taken_from_a_sidecar():
    found = describe("x.jpg", TAKEOUT)
    assert [(c.text, c.source) for c in found.captions] == [("A cat on a roof", "sidecar")]
    assert found.tags == ("Anna", "Björn")
    assert found.meta == {"favorite": "true"}
    assert found.taken == Taken("2019-07-04T16:00:00+00:00", "takeout")
    assert found.place == Place(48.201, 16.366667, "takeout")


@pytest.mark.parametrize(
    "change",
    [
        {"geoData": {"latitude": 0.0, "longitude": 0.0}},
        {"geoData": {"latitude": 91.0, "longitude": 0.0}},
        {"geoData": {"latitude": "48", "longitude": None}},
        {"geoData": None},
    ],
)
def test_no_place(change):
    assert describe("x.jpg", {**TAKEOUT, "geoDataExif": None, **change}).place is None
    assert describe("x.jpg", {**TAKEOUT, **change}).place == Place(1.0, 2.0, "takeout")


@pytest.mark.parametrize("time", [None, {}, {"timestamp": "soon"}, {"timestamp": "0"}, "2019"])
def test_no_date(time):
    found = describe("x.jpg", {**TAKEOUT, "photoTakenTime": time})
    assert found.taken is None


def test_a_time_before_1970():
    found = describe("x.jpg", {**TAKEOUT, "photoTakenTime": {"timestamp": "-236304000"}})
    assert found.taken == Taken("1962-07-07T00:00:00+00:00", "takeout")


@pytest.mark.parametrize(
    "album",
    [
        {"title": "Rome", "description": "Our trip", "access": "protected", "date": {}},
        {"albumData": {"title": "Rome", "description": "Our trip"}},
        {"albumData": {}, "title": "Rome"},
    ],
)
def test_an_album_says_nothing_about_a_picture(album):
    found = describe("metadata.jpg", album)
    assert (found.captions, found.meta, found.taken) == ((), {}, None)


def test_a_sidecar_that_says_little():
    found = describe("x.jpg", {"photoTakenTime": {"timestamp": "1"}, "description": 5})
    assert (found.captions, found.tags, found.meta, found.place) == ((), (), {}, None)
    other = describe("x.jpg", {"access": "all", "caption": "A cat"})
    assert [caption.text for caption in other.captions] == ["A cat"]
