"""Metadata in image files: EXIF, IPTC, XMP, and damaged ones."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from PIL.TiffImagePlugin import IFDRational

from embedder.images.decode import DecodeLimits, decode_image
from indexer.captions.dates import Taken
from indexer.captions.embedded import (
    EmbeddedMetadata,
    _decode_exif_ascii,
    _decode_windows_text,
    read_embedded_metadata,
)
from indexer.captions.normalize import PLACEHOLDER_PATTERN
from indexer.captions.places import Place
from indexer.captions.xmp import parse_xmp
from indexer.errors import UnusableFileError

pytestmark = pytest.mark.filterwarnings(r"ignore:.*:Warning:PIL\..*")  # as decode.py does

EXIF_IFD, GPS_IFD = 0x8769, 0x8825


def exif(base=None, details=None, gps=None) -> Image.Exif:
    block = Image.Exif()
    block.update(base or {})
    block.get_ifd(EXIF_IFD).update(details or {})
    block.get_ifd(GPS_IFD).update(gps or {})
    return block


def saved(format: str = "JPEG", **options) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, format, **options)
    return buffer.getvalue()


def read_metadata(data: bytes) -> EmbeddedMetadata:
    return decode_image(data, side=48, read_metadata=read_embedded_metadata).metadata


def pairs(metadata: EmbeddedMetadata) -> list[tuple[str, str | None]]:
    assert all(caption.source == "embedded" for caption in metadata.captions)
    return [(caption.text, caption.language) for caption in metadata.captions]


def with_iptc(*sets: tuple[int, int, bytes]) -> bytes:
    """A JPEG with IPTC datasets in Photoshop's APP13 block."""
    iptc = b"".join(struct.pack(">BBBH", 0x1C, r, d, len(v)) + v for r, d, v in sets)
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
    body = b"Photoshop 3.0\0" + resource
    jpeg = saved()
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def xmp(inner: str, attributes: str = "") -> bytes:
    return f"""<?xpacket begin="\ufeff"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
     xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
     xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
     xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
     xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/" {attributes}>{inner}
     </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()


def test_an_image_without_metadata():
    assert read_metadata(saved()) == EmbeddedMetadata()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_in_every_format(format):
    block = exif(
        {0x010E: "A cat on a roof", 0x010F: "Canon", 0x0110: "Canon EOS 5D"},
        {0x9003: "2024:05:17 18:30:00", 0x9011: "+02:00"},
        {1: "N", 2: (48.0, 12.0, 3.6), 3: "W", 4: (16.0, 22.0, 0.0)},
    )
    found = read_metadata(saved(format, exif=block.tobytes()))
    assert pairs(found) == [("A cat on a roof", None)]
    assert found.taken == Taken("2024-05-17T18:30:00+02:00", "exif")
    assert found.camera == "Canon EOS 5D"
    assert found.place == Place(48.201, -16.366667, "exif")


def test_exif_description_in_utf8():
    block = exif({0x010E: "屋根の上の猫".encode()})
    assert pairs(read_metadata(saved(exif=block))) == [("屋根の上の猫", None)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"ASCII\0\0\0A cat", "A cat"),
        (b"UNICODE\0" + "Eine Katze – schön".encode("utf-16-le"), "Eine Katze – schön"),
        (b"UNICODE\0" + "Eine Katze – schön".encode("utf-16-be"), "Eine Katze – schön"),
        (b"UNICODE\0" + "屋根の上の猫".encode("utf-16"), "屋根の上の猫"),
        (b"JIS\0\0\0\0\0" + "屋根の上の猫".encode("iso2022_jp"), "屋根の上の猫"),
        (b"\0" * 8 + "Un été".encode(), "Un été"),
        (b"ASCII\0\0\0" + "屋根の上の猫".encode("cp932"), "屋根の上の猫"),
        (b"no prefix at all", "no prefix at all"),
        (b"UNICODE\0" + "Un été à la mer".encode(), "Un été à la mer"),  # as EXIF 3 has it
        (b"UNICODE\0" + "屋根の上の猫".encode(), "屋根の上の猫"),
        (b"UTF-8\0\0\0" + "屋根の上の猫".encode(), "屋根の上の猫"),
        (b"ASCII\0\0\0" + b" " * 40, None),
        (b"\0" * 64, None),
        (b"UNICODE\0" + b"\0\xd8", None),
        (b"JIS\0\0\0\0\0A cat\xff", "A cat"),
        (b"UNICODE\0cat-roof!", "cat-roof!"),
        (b"ASCII\0\0\0Malcolm X" + b"\0" * 16, "Malcolm X"),
        (b"UNICODE\0" + "Un été".encode() + b"\0\0\0", "Un été"),
    ],
)
def test_user_comments(value, text):
    found = read_metadata(saved(exif=exif(details={0x9286: value})))
    assert pairs(found) == ([(text, None)] if text else [])


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("text", ["中国北京天安门广场", "屋根の上の猫", "Eine Katze"])
def test_user_comments_in_the_byte_order_of_the_file(order, text):
    block = exif()
    block.endian = "<" if order == "little" else ">"
    coded = text.encode("utf-16-le" if order == "little" else "utf-16-be")
    block.get_ifd(EXIF_IFD)[0x9286] = b"UNICODE\0" + coded
    assert pairs(read_metadata(saved(exif=block))) == [(text, None)]


@pytest.mark.parametrize(("order", "format"), [("<", "JPEG"), (">", "JPEG"), ("<", "WEBP")])
def test_texts_of_the_type_utf8(order, format):
    """EXIF 3 has a type of its own for them."""
    text = "屋根の上の猫".encode()
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}LH", 8, 1)
    block += struct.pack(f"{order}HHLLL", 0x010E, 129, len(text) + 1, 26, 0)
    data = saved(format, exif=b"Exif\0\0" + block + text + b"\0")
    assert pairs(read_metadata(data)) == [("屋根の上の猫", None)]


def test_texts_of_the_type_utf8_in_the_second_directory():
    block = b"II*\0" + struct.pack("<LH", 8, 1)
    block += struct.pack("<HHLL", EXIF_IFD, 4, 1, 26) + struct.pack("<L", 0)
    block += struct.pack("<HHHLLL", 1, 0x9003, 129, 20, 44, 0) + b"2024:05:17 18:30:00\0"
    found = read_metadata(saved(exif=b"Exif\0\0" + block))
    assert found.taken == Taken("2024-05-17T18:30:00", "exif")


def test_only_the_entries_of_a_directory_have_a_type():
    """Not what looks like further ones behind the last, such as these characters."""
    title = ("自一" * 20).encode("utf-16-le")  # 129, the type UTF-8, where types would be
    block = b"II*\0" + struct.pack("<LH", 8, 1)
    block += struct.pack("<HHLL", 0x9C9B, 1, len(title), 27) + struct.pack("<L", 0) + b"\0"
    assert pairs(read_metadata(saved(exif=b"Exif\0\0" + block + title))) == [("自一" * 20, None)]


def test_windows_title_comment_and_keywords():
    def utf16(text: str) -> bytes:
        return text.encode("utf-16-le") + b"\0\0"

    block = exif({0x9C9B: utf16("A cat"), 0x9C9C: utf16("猫"), 0x9C9E: utf16("pet; roof;Pet")})
    block[0x9C9F] = utf16("Pets")
    found = read_metadata(saved(exif=block))
    assert pairs(found) == [("A cat", None), ("Pets", None), ("猫", None)]
    assert found.tags == ("pet", "roof")


@pytest.mark.parametrize(
    "junk",
    [
        *("OLYMPUS DIGITAL CAMERA", "SONY DSC", "DIGITAL CAMERA", "KONICA MINOLTA DIGITAL CAMERA"),
        *("Created with GIMP", "ASCII", "DSC_0042", "IMG_1234", "<Description>", "default"),
        *("User comments", "0000", "- -", "hdr", "cof", "untitled", "SAMSUNG DIGITAL CAMERA"),
        *("charset=Ascii", "File written by Adobe Photoshop® 4.0", "oznor", "---"),
    ],
)
def test_placeholders_of_cameras_are_not_captions(junk):
    assert pairs(read_metadata(saved(exif=exif({0x010E: junk})))) == []


@pytest.mark.parametrize(
    "text",
    ["A digital camera on a table", "Hdr of a city", "Sony", "猫", "قطة", "แมว", "बिल्ली", "Nora"],
)
def test_captions_of_people_are_kept(text):
    assert not PLACEHOLDER_PATTERN.fullmatch(text.lower())


@pytest.mark.parametrize(
    ("taken", "iso"),
    [
        ("2024:05:17 18:30:00", "2024-05-17T18:30:00"),
        ("2024-05-17 18:30:00", "2024-05-17T18:30:00"),
        ("1899:12:31 00:00:00", "1899-12-31T00:00:00"),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("2024:13:45 99:00:00", None),
        ("yesterday", None),
        ("1962", "1962"),
        ("1962-05", "1962-05"),
        ("1993:00:00", "1993"),
        ("1993:00:00 00:00:00", "1993"),
        ("1993:07:  ", "1993-07"),
        ("2024:05:17", "2024-05-17"),
        ("2024:05:17   :  :  ", "2024-05-17"),
        ("9999:01:01 00:00:00", None),
    ],
)
def test_dates(taken, iso):
    found = read_metadata(saved(exif=exif(details={0x9003: taken}))).taken
    assert found == (Taken(iso, "exif") if iso else None)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("Canon\0\0", "Canon EOS 5D ", "Canon EOS 5D"),
        ("", "Pixel", "Pixel"),
        ("Kodak", "", "Kodak"),
        ("", "", None),
        ("", "M" * 70, "M" * 64),
        ("canon Inc.", "CANON EOS", "CANON EOS"),
    ],
)
def test_cameras(make, model, camera):
    assert read_metadata(saved(exif=exif({0x010F: make, 0x0110: model}))).camera == camera


@pytest.mark.parametrize(
    "gps",
    [
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (0.0, 1.0, 0.0)},
        {1: "N", 2: (IFDRational(48, 0), 0.0, 0.0), 3: "E", 4: (0.0, 1.0, 0.0)},
        {1: "N", 2: (48.0, 12.0, 3.6)},
    ],
)
def test_invalid_coordinates(gps):
    found = read_metadata(saved(exif=exif(gps=gps)))
    assert found.place is None


def test_sides_of_coordinates_in_any_letter_case():
    gps = {1: "s", 2: (48.0, 12.0, 3.6), 3: "E ", 4: (11.0, 0.0, 0.0)}
    assert read_metadata(saved(exif=exif(gps=gps))).place == Place(-48.201, 11.0, "exif")


def test_what_follows_degrees_minutes_and_seconds_is_ignored():
    gps = {1: "N", 2: (48.0, 12.0, 3.6, 9999.0), 3: "E", 4: (11.0, 0.0, 0.0)}
    assert read_metadata(saved(exif=exif(gps=gps))).place == Place(48.201, 11.0, "exif")


def test_coordinates_of_another_type_are_invalid():
    data = saved(exif=exif(gps={1: "N", 2: (48.0, 12.0, 3.6), 3: "E", 4: (11.0, 1.0, 2.0)}))
    rationals, undefined = 5, 7
    for tag in (2, 4):
        entry = struct.pack(">HHL", tag, rationals, 3)
        at = data.index(entry)
        three_bytes = struct.pack(">HHL4s", tag, undefined, 3, b"\x30\x0c\x03\0")
        data = data[:at] + three_bytes + data[at + len(three_bytes) :]
    found = read_metadata(data)
    assert found.place is None


def test_iptc_in_utf8():
    found = read_metadata(
        with_iptc(
            (1, 90, b"\x1b%G"),
            (2, 105, b"Pets"),
            (2, 5, "Dächer".encode()),
            (2, 120, "屋根の上の猫".encode()),
            (2, 25, "猫".encode()),
            (2, 25, b"roof"),
        )
    )
    assert pairs(found) == [("Dächer", None), ("Pets", None), ("屋根の上の猫", None)]
    assert found.tags == ("猫", "roof")


def test_dates_of_iptc():
    sets = ((2, 55, b"20190704"), (2, 60, b"183000+0200"))
    assert read_metadata(with_iptc(*sets)).taken == Taken("2019-07-04T18:30:00+02:00", "iptc")
    assert read_metadata(with_iptc(sets[0])).taken == Taken("2019-07-04", "iptc")
    assert read_metadata(with_iptc((2, 55, b"19620500"))).taken == Taken("1962-05", "iptc")


def test_each_date_of_exif_has_a_time_zone_of_its_own():
    text, iso = "2024:05:17 18:30:00", "2024-05-17T18:30:00"
    zones = {0x9010: "+01:00", 0x9011: "+02:00", 0x9012: "+03:00"}
    for date, taken in (
        ({0x9003: text}, Taken(f"{iso}+02:00", "exif")),
        ({0x9004: text}, Taken(f"{iso}+03:00", "exif")),
    ):
        assert read_metadata(saved(exif=exif(details=zones | date))).taken == taken
    edited = read_metadata(saved(exif=exif({0x0132: text}, zones)))
    assert edited.taken == Taken(f"{iso}+01:00", "edited")


def test_the_date_in_a_png():
    info = PngImagePlugin.PngInfo()
    info.add_text("Creation Time", "2019-07-04T10:00:00")
    found = read_metadata(saved("PNG", pnginfo=info))
    assert found.taken == Taken("2019-07-04T10:00:00", "png")


def test_the_date_of_editing_is_the_last_resort():
    edited = {0x0132: "2020:01:01 10:00:00"}
    assert read_metadata(saved(exif=exif(edited))).taken == Taken("2020-01-01T10:00:00", "edited")
    packet = xmp("", 'photoshop:DateCreated="1962-05"')
    assert read_metadata(saved(exif=exif(edited), xmp=packet)).taken == Taken("1962-05", "xmp")
    details = {0x9003: "2019:07:04 10:00:00"}
    assert read_metadata(saved(exif=exif(edited, details), xmp=packet)).taken == Taken(
        "2019-07-04T10:00:00", "exif"
    )


def test_a_pointer_out_of_the_exif_block_loses_no_other_field():
    block = bytearray(
        exif({0x010F: "Canon", 0x0110: "EOS"}, {0x9003: "2024:05:17 18:30:00"}).tobytes()
    )
    at = block.index(struct.pack(">H" if b"MM" in block[:8] else "<H", EXIF_IFD))
    block[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    assert read_metadata(saved(exif=bytes(block))).camera == "Canon EOS"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_a_rating_that_is_no_finite_number(text):
    assert read_metadata(saved(exif=exif({0x4746: text}))).rating is None
    packet = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
     xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description
     xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{text}"/></rdf:RDF></x:xmpmeta>"""
    assert parse_xmp(packet.encode(), "sidecar").meta == {}


def test_ratings_in_exif_and_xmp():
    assert read_metadata(saved(exif=exif({0x4746: 3}))).rating == 3
    packet = xmp("", 'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"')
    assert read_metadata(saved(xmp=packet)).rating == 4
    assert read_metadata(saved(exif=exif({0x4746: 0}), xmp=packet)).rating == 4


def test_iptc_without_a_charset_is_guessed():
    assert pairs(read_metadata(with_iptc((2, 120, "Dächer".encode("latin-1"))))) == [
        ("Dächer", None)
    ]
    assert pairs(read_metadata(with_iptc((2, 120, "Dächer".encode())))) == [("Dächer", None)]


def test_iptc_in_a_tiff():
    from PIL import TiffImagePlugin

    iptc = b"\x1c\x02\x78" + struct.pack(">H", 5) + b"A cat"
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33723] = iptc
    tags.tagtype[33723] = 7
    assert pairs(read_metadata(saved("TIFF", tiffinfo=tags))) == [("A cat", None)]


def test_damaged_iptc_is_read_up_to_the_damage():
    whole = with_iptc((2, 120, b"A cat"), (2, 25, b"roof"))
    cut = whole.replace(b"\x1c\x02\x19\0\x04roof", b"\x1c\x02\x19\xff\xffroof")
    assert pairs(read_metadata(cut)) == [("A cat", None)]


def test_iptc_of_more_than_32_kb():
    """Its length is in further bytes (IIM 4.2); what follows it is read too."""
    caption = b"A cat " * 7000
    whole = with_iptc((2, 120, struct.pack(">L", len(caption)) + caption), (2, 25, b"roof"))
    head = b"\x1c\x02\x78"
    data = whole.replace(head + struct.pack(">H", len(caption) + 4), head + b"\x80\x04")
    found = read_metadata(data)
    assert found.captions[0].text.startswith("A cat A cat")
    assert found.tags == ("roof",)


DESCRIPTION = """<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Roofs</rdf:li></rdf:Alt></dc:title>
 <dc:description><rdf:Alt><rdf:li xml:lang="en">A cat</rdf:li>
 <rdf:li xml:lang="pt-BR">Um gato</rdf:li></rdf:Alt></dc:description>
 <dc:subject><rdf:Bag><rdf:li>pet</rdf:li></rdf:Bag></dc:subject>
 <Iptc4xmpCore:AltTextAccessibility><rdf:Alt><rdf:li xml:lang="en">A cat sits</rdf:li></rdf:Alt>
 </Iptc4xmpCore:AltTextAccessibility>"""


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp_in_every_format(format):
    packet = xmp(DESCRIPTION, 'photoshop:DateCreated="2023-01-02T03:04:05"')
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        data = saved("PNG", pnginfo=info)
    elif format == "TIFF":
        data = saved("TIFF", tiffinfo={700: packet})
    else:
        data = saved(format, xmp=packet)
    found = read_metadata(data)
    assert pairs(found) == [
        ("Roofs", None),
        ("A cat", "en"),
        ("Um gato", "pt-br"),
        ("A cat sits", "en"),
    ]
    assert found.tags == ("pet",)
    assert found.taken == Taken("2023-01-02T03:04:05", "xmp")


def test_one_caption_in_three_places_is_one():
    block = exif({0x010E: "A cat"}, {0x9286: b"ASCII\0\0\0A cat"})
    assert pairs(read_metadata(saved(exif=block, xmp=xmp(DESCRIPTION)))).count(("A cat", "en")) == 1
    assert ("A cat", None) not in pairs(read_metadata(saved(exif=block, xmp=xmp(DESCRIPTION))))


def test_entities_in_xmp_are_not_expanded():
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + xmp(
        "<dc:title>&b;</dc:title>"
    )
    assert read_metadata(saved(xmp=bomb)) == EmbeddedMetadata()


@pytest.mark.parametrize("packet", [b"<broken title", b"\xff\xfe\0title", b"title" * 1000])
def test_damaged_xmp_is_ignored(packet):
    assert read_metadata(saved(xmp=packet)) == EmbeddedMetadata()


def test_exif_that_cannot_be_read_leaves_the_rest():
    image = Image.new("RGB", (2, 2))
    image.info["exif"] = b"Exif\0\0II*"
    image.info["XML:com.adobe.xmp"] = xmp(DESCRIPTION).decode()  # as text, as older versions had it
    found = read_embedded_metadata(image)
    assert found.tags == ("pet",) and len(found.captions) == 4
    assert (found.taken, found.camera, found.place, found.rating) == (None, None, None, None)


def test_a_comment_that_is_cut_within_a_character():
    block = exif({}, {0x9286: b"UNICODE\0\xff\xfeA\0B"})
    assert pairs(read_metadata(saved(exif=block))) == [("A", None)]


def test_exif_texts_that_are_not_latin1():
    assert _decode_exif_ascii("A cat\u2026\0") == "A cat"


def test_windows_texts_as_numbers():
    assert _decode_windows_text((65, 0, 66, 0, 0, 0)) == "AB"
    assert _decode_windows_text(7) == ""


def test_png_texts():
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Description", "屋根の上の猫", lang="ja")
    info.add_text("Title", "Roofs")
    info.add_text("Software", "GIMP")
    assert pairs(read_metadata(saved("PNG", pnginfo=info))) == [
        ("Roofs", None),
        ("屋根の上の猫", None),
    ]


def test_control_characters_and_long_captions_are_normalized():
    (caption,) = read_metadata(saved(exif=exif({0x010E: "a\x1b[2J cat " + "x" * 9000}))).captions
    assert caption.text.startswith("a [2J cat xx")
    assert len(caption.text) == 2000


RICH = saved(
    exif=exif(
        {0x010E: "A cat", 0x010F: "Canon", 0x0110: "EOS", 0x9C9B: "A cat".encode("utf-16-le")},
        {0x9003: "2024:05:17 18:30:00", 0x9286: b"UNICODE\0" + "猫".encode("utf-16-le")},
        {1: "N", 2: (48.0, 12.0, 3.6), 3: "W", 4: (16.0, 22.0, 0.0)},
    ),
    xmp=xmp(DESCRIPTION),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(2, 1500), st.integers(0, 255)), min_size=1, max_size=12))
def test_damaged_metadata_does_not_stop_the_decoding(flips):
    damaged = bytearray(RICH)
    for place, value in flips:
        damaged[place] = value
    try:
        found = decode_image(
            bytes(damaged),
            side=48,
            limits=DecodeLimits(max_pixels=1_000_000),
            read_metadata=read_embedded_metadata,
        ).metadata
    except UnusableFileError:
        return
    assert all(caption.text.encode() for caption in found.captions)
    assert all(tag.encode() for tag in found.tags)
