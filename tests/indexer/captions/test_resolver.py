"""Sidecars and manifests: which image they describe, their content, and their stamps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.captions import sidecar
from indexer.captions.dates import Taken
from indexer.captions.language import parse_known_language, parse_language_tag
from indexer.captions.normalize import FileCaptions
from indexer.captions.places import Place
from indexer.captions.resolver import CaptionResolver, is_manifest
from indexer.captions.sidecar import parse_caption_key, parse_fields, parse_sidecar
from indexer.captions.sidecar_names import match_sidecars
from indexer.errors import IndexerError
from indexer.types import Caption, SkippedFile


@pytest.fixture
def describe(tmp_path):
    """`describe(name, **files)`: the captions of an image beside these files."""

    def run(image: str = "x.jpg", files: dict[str, object] | None = None) -> FileCaptions:
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).touch()
        for name, content in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                text = content if isinstance(content, str) else json.dumps(content)
                path.write_text(text, "utf-8")
        run.skips = []
        source = CaptionResolver([tmp_path], run.skips.append)
        return source.load_captions(str(tmp_path / image))

    return run


def pairs(described: FileCaptions) -> list[tuple[str, str | None]]:
    return [(caption.text, caption.language) for caption in described.captions]


# which sidecar belongs to which image


def test_sidecars_by_name():
    names = [
        *("x.jpg", "x.txt", "x.jpg.txt", "x.en.txt", "x.jpg.ja.txt", "x.json", "x.jpg.xmp"),
        *("y.png", "y.heic", "y.zh-Hans.txt", "z.txt", "x.draft.txt", "v1.2.jpg", "v1.2.txt"),
        *("w.jpg", "w.jpg.supplemental-metadata.json", "U.JPG", "U.TXT"),
    ]
    assert match_sidecars(names).by_image == {
        "x.jpg": ["x.en.txt", "x.jpg.ja.txt", "x.jpg.txt", "x.jpg.xmp", "x.json", "x.txt"],
        "y.png": ["y.zh-Hans.txt"],
        "y.heic": ["y.zh-Hans.txt"],
        "v1.2.jpg": ["v1.2.txt"],
        "w.jpg": ["w.jpg.supplemental-metadata.json"],
        "U.JPG": ["U.TXT"],
    }


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("en", "en"),
        ("PT-BR", "pt-br"),
        ("zh_Hans", "zh-hans"),
        ("zh-Hant-TW", "zh-hant-tw"),
        ("es-419", "es-419"),
        ("yue", "yue"),
        ("sr-Latn-RS", "sr-latn-rs"),
        ("de-1996", "de-1996"),
        ("eng", "en"),
        ("ger", "de"),
        ("deu-AT", "de-at"),
        ("eng_Latn", "en-latn"),
        ("iw", "he"),
        ("quz", "quz"),
        ("arz_Arab", "arz-arab"),
        ("kok", "kok"),
        ("und", "und"),
    ],
)
def test_language_tags(text, tag):
    assert parse_language_tag(text) == parse_known_language(text) == tag


@pytest.mark.parametrize("text", ["", "e", "en-", "klingon", "x-default", "en us", "12"])
def test_what_cannot_be_a_language_tag(text):
    assert parse_language_tag(text) is parse_known_language(text) is None


@pytest.mark.parametrize("text", ["old", "mov", "avi", "xx", "new", "raw", "cat", "sun"])
def test_words_that_are_no_languages_unless_something_says_so(text):
    assert parse_known_language(text) is None
    assert parse_language_tag(text)
    assert match_sidecars(["x.jpg", f"x.{text}.txt"]).by_image == {}


def test_an_unknown_language_is_kept(describe):
    found = describe(files={"captions.csv": "file,caption,lang\nx.jpg,Qa' vIja'a',tlh\n"})
    assert pairs(found) == [("Qa' vIja'a'", "tlh")]


# what stands in them


def test_a_file_without_captions(describe):
    assert describe() == FileCaptions()


def test_text_sidecars_in_several_languages(describe):
    found = describe(
        files={
            "x.txt": "  A cat \r\n on a   roof\n",
            "x.de.txt": "Eine Katze auf dem Dach",
            "x.jpg.ja.txt": "屋根の上の猫",
        }
    )
    assert pairs(found) == [
        ("Eine Katze auf dem Dach", "de"),
        ("屋根の上の猫", "ja"),
        ("A cat\non a roof", None),
    ]
    assert {caption.source for caption in found.captions} == {"sidecar"}


def test_lines_that_name_their_language(describe):
    text = "en: A cat\nfr: Un chat\n  sur le toit\nzh-Hans：屋顶上的猫\n\nNote: not a language"
    assert pairs(describe(files={"x.txt": text})) == [
        ("A cat", "en"),
        ("Un chat\nsur le toit", "fr"),
        ("屋顶上的猫\nNote: not a language", "zh-hans"),
    ]


@pytest.mark.parametrize(
    "text", ["No: 17", "no: 17", "To: Anna\nNo: 17", "Id: 17\nNo: a", "id: A7", "It: a clown"]
)
def test_labels_are_no_languages(describe, text):
    assert pairs(describe(files={"x.txt": text})) == [(text, None)]


def test_keys_that_are_no_languages(describe):
    found = describe(files={"x.json": {"id": "A7", "no": "17"}})
    assert (pairs(found), found.meta) == ([], {"id": "A7", "no": "17"})
    assert describe(files={"x.json": {"en": 17, "fr": 3}}).captions == ()
    table = "file,caption,caption_id,caption_no\nx.jpg,A cat,12,en katt\n"
    found = describe("x.jpg", {"x.json": "{}", "captions.csv": table})
    assert (pairs(found), found.meta) == (
        [("A cat", None), ("en katt", "no")],
        {"caption_id": "12"},
    )


def test_a_title_that_is_a_file_name_is_no_caption(describe):
    assert describe(files={"x.json": {"title": "IMG_0001.HEIC", "alt": "A cat"}}).captions == (
        Caption("A cat"),
    )


def test_each_paragraph_is_a_caption(describe):
    text = "Lunch: two cats.\nAnd a dog.\n\nA second caption."
    assert pairs(describe(files={"x.txt": text})) == [
        ("Lunch: two cats.\nAnd a dog.", None),
        ("A second caption.", None),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a cat", [("a cat", None)]),
        (["a cat", "a tom"], [("a cat", None), ("a tom", None)]),
        ({"en": "a cat", "pt-BR": "um gato"}, [("a cat", "en"), ("um gato", "pt-br")]),
        ({"en": ["a cat", "a tom"]}, [("a cat", "en"), ("a tom", "en")]),
        ({"caption": "a cat"}, [("a cat", None)]),
        ({"captions": ["a cat", {"text": "eine Katze", "language": "de"}]}, None),
        ({"description": {"en": "a cat", "de": "eine Katze"}}, None),
        ({"caption_en": "a cat", "caption:de": "eine Katze"}, None),
        ({"title": "x.jpg", "description": "a cat"}, [("a cat", None)]),
        ({"alt": "a cat", "caption": ""}, [("a cat", None)]),
        ({"caption": None, "captions": 7}, []),
        (12, []),
        (None, []),
    ],
)
def test_json_sidecars(describe, value, expected):
    if expected is None:
        first = None if isinstance(value.get("captions"), list) else "en"
        expected = [("a cat", first), ("eine Katze", "de")]
    found = describe(files={"x.json": json.dumps(value)})
    assert pairs(found) == expected
    assert not describe.skips


def test_json_tags_and_other_keys(describe):
    found = describe(
        files={
            "x.json": {
                "keywords": ["cat", "Cat ", "roof", 7],
                "brand": "Acme",
                "price": 12.5,
                "count": 3,
                "sold": True,
                "huge": 1 << 80,
                "nested": {"a": 1},
                "nothing": None,
            }
        }
    )
    assert found.tags == ("cat", "roof", "7")
    assert found.meta == {
        "brand": "Acme",
        "price": 12.5,
        "count": 3,
        "sold": "true",
        "huge": str(1 << 80),
    }


def test_numbers_that_a_payload_cannot_hold_are_dropped(describe):
    assert describe(files={"x.json": b'{"a": NaN, "b": -Infinity, "c": 1}'}).meta == {"c": 1}


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Headline="Cats">
 <dc:description><rdf:Alt><rdf:li xml:lang="x-default">A cat</rdf:li>
 <rdf:li xml:lang="en-GB">A cat</rdf:li><rdf:li xml:lang="ja">猫</rdf:li></rdf:Alt></dc:description>
 <dc:subject><rdf:Bag><rdf:li>pet</rdf:li><rdf:li>roof</rdf:li></rdf:Bag></dc:subject>
 </rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_xmp_sidecar(describe):
    found = describe(files={"x.xmp": XMP})
    assert pairs(found) == [("Cats", None), ("A cat", "en-gb"), ("猫", "ja")]
    assert found.tags == ("pet", "roof")


def xmp_sidecar(inner: str, attributes: str = "") -> str:
    names = {
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "dc": "http://purl.org/dc/elements/1.1/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "digiKam": "http://www.digikam.org/ns/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
        "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
        "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    }
    spaces = " ".join(f'xmlns:{name}="{uri}"' for name, uri in names.items())
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
     xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
     {spaces} {attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_what_is_taken_from_an_xmp_sidecar(describe):
    lightroom = """<lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Europe|Rome</rdf:li>
     </rdf:Bag></lr:hierarchicalSubject><dc:subject><rdf:Bag><rdf:li>Rome</rdf:li></rdf:Bag>
     </dc:subject>"""
    attributes = """xmp:Rating="4" photoshop:DateCreated="1962-05" exif:GPSLatitude="48,12.06N"
     exif:GPSLongitude="16,22,0.0W" """
    found = describe(files={"x.xmp": xmp_sidecar(lightroom, attributes)})
    assert found.tags == ("Places", "Europe", "Rome")
    assert found.meta == {"rating": 4}
    assert found.taken == Taken("1962-05", "sidecar")
    assert found.place == Place(48.201, -16.366667, "sidecar")


def test_tags_of_digikam_and_names_of_people(describe):
    inner = """<digiKam:TagsList><rdf:Seq><rdf:li>People/Anna</rdf:li>
     <rdf:li>_Digikam_Internal_Tags_/Color Label Red</rdf:li></rdf:Seq></digiKam:TagsList>
     <Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>Björn</rdf:li></rdf:Bag>
     </Iptc4xmpExt:PersonInImage>
     <mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>
     <rdf:li><rdf:Description mwg-rs:Name="Carla" mwg-rs:Type="Face"/></rdf:li>
     <rdf:li rdf:parseType="Resource"><mwg-rs:Name>Dora</mwg-rs:Name><mwg-rs:Type>Face</mwg-rs:Type>
     </rdf:li><rdf:li rdf:parseType="Resource"><mwg-rs:Name>17</mwg-rs:Name>
     <mwg-rs:Type>BarCode</mwg-rs:Type></rdf:li></rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>
     <MPReg:Regions><rdf:Bag><rdf:li><rdf:Description MPReg:PersonDisplayName="Emil"/></rdf:li>
     </rdf:Bag></MPReg:Regions>"""
    found = describe(files={"x.jpg.xmp": xmp_sidecar(inner)})
    assert set(found.tags) == {"People", "Anna", "Björn", "Carla", "Dora", "Emil"}


@pytest.mark.parametrize(
    ("written", "stars"),
    [
        ('xmp:Rating="5"', 5),
        ('xmp:Rating="0"', None),
        ('xmp:Rating="-1"', None),
        ('xmp:Rating="?"', None),
        ('MicrosoftPhoto:Rating="75"', 4),
        ('MicrosoftPhoto:Rating="99"', 5),
    ],
)
def test_ratings(describe, written, stars):
    found = describe(files={"x.xmp": xmp_sidecar("", written)})
    assert found.meta == ({"rating": stars} if stars else {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", "{broken"),
        ("x.json", "[" * 100_000),
        ("x.txt", b"\x89PNG\r\n\x1a\n\0\0"),
        ("x.xmp", "<x:xmpmeta description"),
        ("x.xmp", '<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><d>&b; description</d>'),
        ("x.xmp", '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><d>&a; title</d>'),
        ("x.txt", b"x" * (5 << 20)),
    ],
)
def test_a_broken_sidecar_is_reported_and_the_rest_is_read(describe, name, content):
    found = describe(files={name: content, "x.en.txt": "a cat"})
    assert pairs(found) == [("a cat", "en")]
    (skip,) = describe.skips
    assert (Path(skip.path).name, skip.reason) == (name, "bad-sidecar")
    assert skip.detail


def test_a_sidecar_that_is_a_pipe_does_not_hang(describe, tmp_path):
    os.mkfifo(tmp_path / "x.txt")
    assert describe().captions == ()
    assert [skip.reason for skip in describe.skips] == ["bad-sidecar"]


def test_a_sidecar_that_leads_nowhere_is_reported_once(tmp_path):
    (tmp_path / "x.jpg").touch()
    (tmp_path / "x.txt").symlink_to("gone.txt")
    skips: list[SkippedFile] = []
    resolver = CaptionResolver([tmp_path], skips.append)
    for _ in range(2):
        assert resolver.load_captions(str(tmp_path / "x.jpg")).captions == ()
    (skip,) = skips
    assert (Path(skip.path).name, skip.reason) == ("x.txt", "bad-sidecar")
    assert "No such file" in skip.detail
    assert resolver.compute_stamp(str(tmp_path / "x.jpg"))


def test_an_empty_sidecar_says_nothing(describe):
    found = describe(files={"x.txt": ""})
    assert (found.captions, describe.skips) == ((), [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp932"])
def test_sidecars_in_other_encodings(describe, encoding):
    assert pairs(describe(files={"x.txt": "屋根の上の猫".encode(encoding)})) == [
        ("屋根の上の猫", None)
    ]


def test_a_few_control_bytes_do_not_make_a_text_unreadable(describe):
    found = describe(files={"x.txt": b"A cat on a roof\x1a", "x.json": b'{"alt": "A \x08dog"}'})
    assert pairs(found) == [("A dog", None), ("A cat on a roof", None)]
    table = "file,caption\nz.jpg,A\0dog\ny.jpg,A cat\n"
    assert pairs(describe("y.jpg", {"captions.csv": table})) == [("A cat", None)]
    assert pairs(describe("z.jpg", {})) == [("A dog", None)]


def test_captions_are_normalized(describe):
    text = "a\x1b[31m cat \u2028 here " + "x" * 5000
    (caption,) = describe(files={"x.json": {"caption": text}}).captions
    assert caption.text.startswith("a [31m cat here xxx")
    assert len(caption.text) == 2000
    (lone,) = describe(files={"x.json": b'{"caption": "a \\ud800 cat"}'}).captions
    assert lone.text == "a cat"


def test_one_caption_in_two_places_is_one_and_keeps_its_language(describe):
    found = describe(files={"x.txt": "a Cat", "x.en.txt": "A cat", "x.json": {"caption": "A CAT"}})
    assert pairs(found) == [("A cat", "en")]


# manifests


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("captions.csv", "file,caption\nx.jpg,A cat\n"),
        ("metadata.csv", "file_name,text\r\n./x.jpg,A cat\r\n"),
        ("manifest.csv", "image;description\nx.jpg;A cat\n"),
        ("captions.tsv", "path\ttitle\nx.jpg\tA cat\n"),
        ("metadata.jsonl", '{"file_name": "x.jpg", "text": "A cat"}\n\n'),
        ("Captions.CSV", "\ufefffilename,Caption\nx.jpg,A cat\n"),
    ],
)
def test_manifests(describe, name, content):
    found = describe(files={name: content, "y.jpg": ""})
    assert pairs(found) == [("A cat", None)]
    assert found.captions[0].source == "manifest"
    assert not describe.skips


def test_a_manifest_with_languages_tags_and_other_columns(describe):
    table = (
        "file,caption,caption_ja,caption:de,tags,brand,price,sku,caption_id\n"
        'x.jpg,"A cat, sleeping",猫,Katze,"pet, roof",Acme,12.50,007,12\n'
    )
    found = describe(files={"captions.csv": table})
    assert pairs(found) == [("A cat, sleeping", None), ("猫", "ja"), ("Katze", "de")]
    assert found.tags == ("pet", "roof")
    assert found.meta == {"brand": "Acme", "price": 12.5, "sku": "007", "caption_id": "12"}


def test_short_and_empty_rows_are_ignored(describe):
    table = "caption,tags,file\nA cat\n\nA dog,pet,x.jpg,more,than,columns\n,,\n"
    found = describe(files={"captions.csv": table})
    assert (pairs(found), found.tags, found.meta) == ([("A dog", None)], ("pet",), {})
    assert not describe.skips


def test_a_column_without_a_name_is_not_that_of_the_file(describe):
    """As `DataFrame.to_csv` writes the index."""
    found = describe("x.jpg", {"captions.csv": ",file,caption\n0,x.jpg,A cat\n"})
    assert pairs(found) == [("A cat", None)]
    assert found.meta == {}


def test_several_rows_are_several_captions(describe):
    table = "file,caption,language\nx.jpg,A cat,en\nx.jpg,Katze,de\nx.jpg,Something,klingon?\n"
    found = describe(files={"captions.csv": table})
    assert pairs(found) == [("A cat", "en"), ("Katze", "de"), ("Something", None)]


def test_a_manifest_in_a_parent_names_files_by_relative_path(describe):
    files = {"metadata.csv": "file_name,text\na/b/x.jpg,A cat\n", "a/captions.csv": "file,text\n"}
    assert pairs(describe("a/b/x.jpg", files)) == [("A cat", None)]


def test_a_manifest_in_the_folder_may_name_files_by_whole_path(tmp_path):
    (tmp_path / "x.jpg").touch()
    (tmp_path / "captions.csv").write_text(f"file,caption\n{tmp_path / 'x.jpg'},A cat\n")
    source = CaptionResolver([tmp_path], lambda skip: None)
    assert pairs(source.load_captions(str(tmp_path / "x.jpg"))) == [("A cat", None)]


def test_the_root_of_a_single_file_is_its_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jpg").touch()
    (tmp_path / "captions.csv").write_text("file,caption\na/x.jpg,above the root\n")
    (tmp_path / "a/captions.csv").write_text("file,caption\nx.jpg,A cat\n")
    resolver = CaptionResolver([tmp_path / "a/x.jpg"])
    assert pairs(resolver.load_captions(str(tmp_path / "a/x.jpg"))) == [("A cat", None)]


def test_a_folder_that_is_gone_has_no_captions(tmp_path):
    resolver = CaptionResolver([tmp_path])
    assert resolver.load_captions(str(tmp_path / "gone/x.jpg")) == FileCaptions()


def test_a_named_manifest_that_has_changed_is_read_again(tmp_path):
    table, image = tmp_path / "table.csv", str(tmp_path / "x.jpg")
    for text in ("A cat", "A horse"):  # in the same moment, by the clock of the file system
        table.write_text(f"file,caption\nx.jpg,{text}\n")
        os.utime(table, ns=(0, 0))
        resolver = CaptionResolver([tmp_path], manifest=table)
        assert pairs(resolver.load_captions(image)) == [(text, None)]


def test_a_file_outside_the_roots_has_captions_too(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "x.jpg").touch()
    (tmp_path / "x.txt").write_text("A cat")
    resolver = CaptionResolver([tmp_path / "a"])
    assert pairs(resolver.load_captions(str(tmp_path / "x.jpg"))) == [("A cat", None)]


def test_a_manifest_above_the_root_is_not_read(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name,text\na/x.jpg,A cat\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jpg").touch()
    source = CaptionResolver([tmp_path / "a"], lambda skip: None)
    assert source.load_captions(str(tmp_path / "a/x.jpg")) == FileCaptions()


def test_names_in_a_manifest_match_in_any_unicode_form(describe):
    files = {"captions.csv": "file,caption\nsub\\cafe\u0301.jpg,A café\n"}
    assert pairs(describe("sub/caf\u00e9.jpg", files)) == [("A café", None)]


@pytest.mark.parametrize(
    "content", ["name,caption\nx.jpg,A cat\n", b"\0\0\0", "{not json}\n", "[1, 2]\n"]
)
@pytest.mark.parametrize("name", ["captions.csv", "captions.jsonl"])
def test_a_broken_manifest_is_reported_once(tmp_path, name, content):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / name).write_bytes(data)
    skips: list[SkippedFile] = []
    source = CaptionResolver([tmp_path], skips.append)
    for i in range(3):
        assert source.load_captions(str(tmp_path / f"{i}.jpg")) == FileCaptions()
    assert [skip.reason for skip in skips] == ["bad-sidecar"]


def test_a_manifest_that_the_user_names(tmp_path):
    for name in ("pics/a/1.jpg", "pics/2.jpg", "pics/3.jpg", "pics/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = tmp_path / "table.csv"
    table.write_text(
        f"file,caption\na/1.jpg,from the root\npics/2.jpg,from the table\n"
        f"{tmp_path}/pics/3.jpg,absolute\n4.jpg,by its bare name\n"
    )
    source = CaptionResolver([tmp_path / "pics"], lambda skip: None, table)
    texts = [
        source.load_captions(str(tmp_path / "pics" / name)).captions[0].text
        for name in ("a/1.jpg", "2.jpg", "3.jpg", "4.jpg")
    ]
    assert texts == ["from the root", "from the table", "absolute", "by its bare name"]


def test_a_named_manifest_and_that_of_the_folder_both_count(tmp_path):
    (tmp_path / "Rome").mkdir()
    (tmp_path / "Rome/x.jpg").touch()
    (tmp_path / "Rome/captions.csv").write_text("file,caption\nx.jpg,of the folder\n")
    (tmp_path / "Rome/table.csv").write_text("file,caption\nRome/x.jpg,from a folder above\n")
    resolver = CaptionResolver([tmp_path / "Rome"], manifest=tmp_path / "Rome/table.csv")
    texts = [c.text for c in resolver.load_captions(str(tmp_path / "Rome/x.jpg")).captions]
    assert texts == ["from a folder above", "of the folder"]


def test_a_named_manifest_that_is_broken_or_missing_stops_the_run(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    reasons = {
        "table.csv": "table.csv: no column names the files",
        "no-such-table.csv": "no-such-table.csv: No such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(IndexerError, match=reason):
            CaptionResolver([tmp_path], lambda skip: None, tmp_path / name)


def test_tables_of_apple(describe):
    table = (
        "imgName,fileChecksum,favorite,hidden,deleted,originalCreationDate,viewCount,importDate\n"
        'x.jpg,AQ,yes,no,no,"Saturday January 15,2022 7:31 PM GMT",3,'
        '"Sunday January 16,2022 8:00 AM GMT"\n'
    )
    found = describe(files={"Photo Details-1.csv": table})
    assert found.taken == Taken("2022-01-15T19:31:00+00:00", "apple")
    assert (found.captions, found.meta) == ((), {"favorite": "true"})
    later = table.replace("Saturday January 15,2022 7:31 PM GMT", "unknown").replace("yes", "no")
    found = describe(files={"Photo Details-1.csv": later})
    assert (found.taken, found.meta) == (None, {})


def test_manifest_names():
    assert is_manifest("captions.csv")
    assert is_manifest("Metadata.JSONL")
    assert not is_manifest("captions.txt")
    assert not is_manifest("data.csv")
    assert not is_manifest("csv")


# stamps


def stamps(root: Path, *names: str) -> list[str]:
    source = CaptionResolver([root], lambda skip: None)
    return [source.compute_stamp(str(root / name)) for name in names]


def test_stamps_change_only_for_the_described_file(tmp_path):
    names = ("1.jpg", "2.jpg", "3.jpg")
    for name in names:
        (tmp_path / name).touch()
    assert stamps(tmp_path, *names) == ["", "", ""]
    (tmp_path / "1.txt").write_text("a")
    (tmp_path / "captions.csv").write_text("file,caption\n2.jpg,b\n3.jpg,c\n")
    first = stamps(tmp_path, *names)
    assert all(first)
    assert stamps(tmp_path, *names) == first

    (tmp_path / "captions.csv").write_text("file,caption\n2.jpg,b\n3.jpg,changed\n")
    second = stamps(tmp_path, *names)
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, True, False]

    (tmp_path / "1.txt").write_text("changed")
    (tmp_path / "2.en.txt").write_text("new")
    third = stamps(tmp_path, *names)
    assert [a == b for a, b in zip(second, third, strict=True)] == [False, False, True]


def test_compute_stamp_agrees_with_load_captions_and_reads_no_sidecar(tmp_path):
    (tmp_path / "1.jpg").touch()
    (tmp_path / "1.json").write_text("{broken")
    skips: list[SkippedFile] = []
    source = CaptionResolver([tmp_path], skips.append)
    stamp = source.compute_stamp(str(tmp_path / "1.jpg"))
    assert stamp
    assert not skips
    assert source.load_captions(str(tmp_path / "1.jpg")).stamp == stamp
    assert skips


def test_names_that_are_not_utf8_have_sidecars(tmp_path):
    raw = os.fsencode(tmp_path)
    for name in (b"caf\xe9.jpg", b"caf\xe9.txt"):
        with open(raw + b"/" + name, "wb") as file:
            file.write(b"a caf\xe9")
    found = CaptionResolver([tmp_path], lambda s: None).load_captions(
        os.fsdecode(raw + b"/caf\xe9.jpg")
    )
    assert found.captions == (Caption("a café"),)
    assert found.stamp


# any bytes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("caption"), inner),
    max_leaves=20,
)


@given(JSON)
def test_any_json_gives_values_that_a_payload_can_hold(value):
    notes = parse_sidecar("x.json", json.dumps(value).encode(), "x.jpg")
    json.dumps(dict(notes.meta), allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert all(caption.text.encode("utf-8") for caption in notes.captions)
    assert all(tag.encode("utf-8") for tag in notes.tags)


def test_caption_keys():
    assert parse_caption_key("Caption") == ("caption", None)
    assert parse_caption_key("text_zh-Hans") == ("text", "zh-hans")
    for separator in "_:-.":
        assert parse_caption_key(f"caption{separator}de") == ("caption", "de")
    assert parse_caption_key("alt_text") == ("alt_text", None)
    assert parse_caption_key("text_length") == ("text_length", None)
    assert parse_caption_key("foo_de") == ("foo_de", None)


def test_objects_of_numbers_by_language_are_columns():
    found = parse_fields({"en": 5, "de": 6}, None, "sidecar", "x.jpg")
    assert (found.captions, found.meta) == ((), {"en": 5, "de": 6})
    many = parse_fields({f"k{n}": n for n in range(70)}, None, "sidecar", "x.jpg")
    assert list(many.meta) == [f"k{n}" for n in range(64)]


def test_the_language_in_the_name_of_a_sidecar():
    for name, data in (("x.en.json", b'"A cat"'), ("x.en.txt", b"A cat")):
        (caption,) = parse_sidecar(name, data, "x.jpg").captions
        assert (caption.language, caption.source) == ("en", "sidecar")
    (caption,) = parse_sidecar("x.en.txt", b"en: A cat\nfr: Un chat", "x.jpg").captions
    assert (caption.language, caption.text) == ("en", "en: A cat\nfr: Un chat")
    for name in ("en.txt", "en.json"):
        (caption,) = parse_sidecar(name, b'"A cat"', "en.jpg").captions
        assert caption.language is None


def test_the_size_of_a_sidecar_is_limited(monkeypatch):
    with pytest.raises(ValueError, match="a caption file of more than 4 MB"):
        parse_sidecar("x.txt", b" " * ((4 << 20) + 1), "x.jpg")
    monkeypatch.setattr(sidecar, "MAX_BYTES", 5)
    assert parse_sidecar("x.txt", b"A cat", "x.jpg").captions
    with pytest.raises(ValueError, match="a caption file"):
        parse_sidecar("x.txt", b"A cat.", "x.jpg")


def test_sidecars_in_other_letter_case():
    found = match_sidecars(["X.jpg", "Y.jpg", "x.txt", "y.txt", "Za.jpg", "ZA.jpg", "za.txt"])
    assert found.inexact == [("x.txt", "X.jpg", "case"), ("y.txt", "Y.jpg", "case")]
    assert found.ambiguous == {"za.txt": ("Za", "ZA")}
    assert found.sidecars == {"x.txt", "y.txt"}


def test_captions_in_lists_of_objects():
    items = [{"caption": "A cat", "lang": "en"}, {"text": "Eine Katze", "language": "de"}, ["x", 1]]
    items.append({"text": ["deeper"]})
    found = parse_fields({"captions": items}, "fr", "sidecar", "x.jpg")
    assert [(c.text, c.language) for c in found.captions] == [
        ("A cat", "en"), ("Eine Katze", "de"), ("x", "fr"),
    ]  # fmt: skip
    assert {caption.source for caption in found.captions} == {"sidecar"}
    with pytest.raises(ValueError, match=r"^JSON nested too deeply$"):
        parse_sidecar("x.json", b"[" * 200_000, "x.jpg")
    with pytest.raises(ValueError, match=r"^broken JSON: Expecting value"):
        parse_sidecar("x.json", b"[", "x.jpg")


def test_a_caption_that_is_the_name_of_the_image_says_nothing():
    for text, count in ((" X.jpg", 0), ("y.jpg", 1)):
        found = parse_fields({"caption": text}, None, "sidecar", "x.jpg")
        assert len(found.captions) == count


def test_a_sidecar_that_leads_out_of_the_folders_is_not_read(tmp_path):
    root, secret = tmp_path / "photos", tmp_path / "secret.txt"
    root.mkdir()
    (root / "x.jpg").touch()
    secret.write_text("a secret")
    (root / "x.txt").symlink_to(secret)
    for within, texts, reasons in (([str(root)], [], ["bad-sidecar"]), (None, ["a secret"], [])):
        skipped = []
        resolver = CaptionResolver([root], skipped.append, within=within)
        found = resolver.load_captions(str(root / "x.jpg"))
        assert [caption.text for caption in found.captions] == texts
        assert [one.reason for one in skipped] == reasons
        for one in skipped:
            assert one.detail == "it leads out of the folders that may be read (library_roots)"
