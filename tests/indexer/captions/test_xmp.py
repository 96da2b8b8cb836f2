"""XMP packets: forms that programs write, and what is taken from each."""

from __future__ import annotations

import pytest

from indexer.captions.dates import Taken
from indexer.captions.places import Place
from indexer.captions.xmp import parse_rating, parse_xmp

NAMESPACES = """xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:regions="http://www.metadataworkinggroup.com/schemas/regions/"
 xmlns:msft="http://ns.microsoft.com/photo/1.2/t/Region#" """


def parse(inner: str = "", attributes: str = "", source: str = "sidecar", end: bytes = b""):
    block = f"<rdf:Description {attributes}>{inner}</rdf:Description>"
    rdf = f"<rdf:RDF {NAMESPACES}>{block}</rdf:RDF>"
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'
    return parse_xmp(packet.encode() + end, source)


def test_a_title_alone():
    found = parse("<dc:title> Roofs </dc:title>", end=b"\0\0 \r\n")
    assert [(c.text, c.language, c.source) for c in found.captions] == [("Roofs", None, "sidecar")]
    assert (found.tags, found.meta, found.taken, found.place) == ((), {}, None, None)


def test_people_and_pets_that_are_marked():
    regions = """<regions:RegionList><rdf:Bag>
     <rdf:li><rdf:Description regions:Name="Anna" regions:Type="Face"/></rdf:li>
     <rdf:li><rdf:Description regions:Name="Rex" regions:Type="Pet"/></rdf:li>
     <rdf:li><rdf:Description regions:Name="Barcode" regions:Type="BarCode"/></rdf:li>
     <rdf:li><rdf:Description regions:Name="Ben"/></rdf:li>
     <rdf:li><regions:Name>Cleo</regions:Name><regions:Type>Pet</regions:Type></rdf:li>
     <rdf:li msft:PersonDisplayName="Dora"/>
     <rdf:li><msft:PersonDisplayName>Emil</msft:PersonDisplayName></rdf:li>
     </rdf:Bag></regions:RegionList>"""
    assert set(parse(regions).tags) == {"Anna", "Rex", "Ben", "Cleo", "Dora", "Emil"}


@pytest.mark.parametrize(("source", "origin"), [("sidecar", "sidecar"), ("embedded", "xmp")])
def test_where_a_date_and_a_place_are_from(source, origin):
    attributes = """photoshop:DateCreated="2019-07-04" exif:GPSLatitude="48,12.06N"
     exif:GPSLongitude="16,22,0E" xmp:Rating="4" """
    found = parse("<dc:title>Roofs</dc:title>", attributes, source)
    assert found.taken == Taken("2019-07-04", origin)
    assert found.place == Place(48.201, 16.366667, origin)
    assert found.meta == {"rating": 4}
    assert found.captions[0].source == source


def test_a_place_needs_both_coordinates():
    assert parse("", 'exif:GPSLatitude="48,12.06N"').place is None
    assert parse("", 'exif:GPSLatitude="48,12.06N" exif:GPSLongitude="here"').place is None


@pytest.mark.parametrize(
    ("text", "stars"),
    [
        ("0", None), ("-1", None), ("0.5", None), ("0.6", 1), ("1", 1), ("5", 5), ("4.6", 5),
        ("25", 2), ("50", 3), ("75", 4), ("99", 5), ("100", 5), ("125", None), ("x", None),
    ],
)  # fmt: skip
def test_stars(text, stars):
    assert parse_rating(text) == stars


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["", "\n", "\0"])
def test_packets_in_utf16(encoding, end):
    block = "<rdf:Description><dc:title>Roofs</dc:title></rdf:Description>"
    packet = f"\ufeff<rdf:RDF {NAMESPACES}>{block}</rdf:RDF>{end}"
    (caption,) = parse_xmp(packet.encode(encoding), "sidecar").captions
    assert caption.text == "Roofs"


def test_what_is_not_xmp():
    with pytest.raises(ValueError, match=r"^an XMP packet of more than 4 MB"):
        parse_xmp(b" " * ((4 << 20) + 1), "sidecar")
    with pytest.raises(ValueError, match=r"^broken XMP: "):
        parse_xmp(b"<title", "sidecar")
    assert parse_xmp(b"<nothing of interest", "sidecar").captions == ()
