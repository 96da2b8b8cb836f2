"""XMP: what photo programs write about an image as XML: texts, keywords, people, dates, places.

Adobe, XMP Specification Part 1 (ISO 16684-1); the IPTC Photo Metadata Standard for alt texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.captions.dates import Taken, parse_date
from indexer.captions.language import parse_language_tag
from indexer.captions.normalize import (
    FileCaptions,
    make_caption,
    merge_captions,
    normalize_tags,
)
from indexer.captions.places import make_place, parse_xmp_degrees
from indexer.types import Caption

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 4 << 20
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
XMP = "{http://ns.adobe.com/xap/1.0/}"
DC = "{http://purl.org/dc/elements/1.1/}"
PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
IPTC = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
IPTC_EXT = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
EXIF = "{http://ns.adobe.com/exif/1.0/}"
TIFF = "{http://ns.adobe.com/tiff/1.0/}"
LIGHTROOM = "{http://ns.adobe.com/lightroom/1.0/}"
DIGIKAM = "{http://www.digikam.org/ns/1.0/}"
ACDSEE = "{http://ns.acdsee.com/iptc/1.0/}"
MICROSOFT = "{http://ns.microsoft.com/photo/1.0/}"
MICROSOFT_REGION = "{http://ns.microsoft.com/photo/1.2/t/Region#}"
MEDIAPRO = "{http://ns.iview-multimedia.com/mediapro/1.0/}"
REGIONS = "{http://www.metadataworkinggroup.com/schemas/regions/}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

CAPTION_PROPERTIES = (
    f"{DC}title",
    f"{DC}description",
    f"{PHOTOSHOP}Headline",
    f"{IPTC}AltTextAccessibility",
    f"{IPTC}ExtDescrAccessibility",
    f"{TIFF}ImageDescription",
    f"{EXIF}UserComment",
    f"{ACDSEE}caption",
    f"{ACDSEE}notes",
)
TAG_SEPARATORS = {  # between the levels of a keyword
    f"{DC}subject": "",
    f"{LIGHTROOM}hierarchicalSubject": "|",
    f"{DIGIKAM}TagsList": "/",
    f"{MICROSOFT}LastKeywordXMP": "/",
    f"{MEDIAPRO}CatalogSets": "|",
}
PERSON_PROPERTIES = (f"{IPTC_EXT}PersonInImage", f"{MEDIAPRO}People")
DATE_PROPERTIES = (
    f"{EXIF}DateTimeOriginal",
    f"{PHOTOSHOP}DateCreated",
    f"{EXIF}DateTimeDigitized",
    f"{XMP}CreateDate",
)
RATING_PROPERTIES = (f"{XMP}Rating", f"{MICROSOFT}Rating")
LATITUDE, LONGITUDE = f"{EXIF}GPSLatitude", f"{EXIF}GPSLongitude"
SINGLE_PROPERTIES = frozenset({*DATE_PROPERTIES, *RATING_PROPERTIES, LATITUDE, LONGITUDE})
INTERNAL_TAGS = ("_Digikam_Internal_Tags_", "_Digikam_root_tag_")
# a packet without any of these words has nothing to read and is not parsed
RELEVANT_WORDS = (
    b"title", b"escription", b"ubject", b"Headline", b"Accessibility", b"Date", b"UserComment",
    b"caption", b"notes", b"TagsList", b"Keyword", b"CatalogSets", b"Person", b"People", b"Region",
    b"Rating", b"GPS",
)  # fmt: skip


def parse_xmp_sidecar(data: bytes, language: str | None, image_name: str) -> FileCaptions:
    """Parse an XMP sidecar; its captions name their own languages."""
    return parse_xmp(data, "sidecar")


def parse_xmp(packet: bytes, source: str) -> FileCaptions:
    """Parse an XMP packet: captions, tags and the names of people, when and where the image was
    taken, and its rating.

    Args:
        packet: The bytes of a sidecar, or those in an image.
        source: `Caption.source` of the captions.

    Raises:
        ValueError: Broken XML, entities, or a huge packet.
    """
    if len(packet) > MAX_BYTES:
        raise ValueError(f"an XMP packet of more than {MAX_BYTES >> 20} MB")
    if not any(word in packet for word in RELEVANT_WORDS) and b"\0" not in packet[:8]:
        return FileCaptions()
    root = _parse_xml(packet)
    captions: list[Caption | None] = []
    tag_values: list[str] = []
    people = _find_regions(root)
    single: dict[str, str] = {}
    for name, language, text in _iterate_properties(root):
        if name in CAPTION_PROPERTIES:
            captions.append(make_caption(text, language, source))
        elif name in TAG_SEPARATORS:
            tag_values += _split_keyword(text, TAG_SEPARATORS[name])
        elif name in PERSON_PROPERTIES:
            people.append(text)
        elif name in SINGLE_PROPERTIES:
            single.setdefault(name, text.strip())
    origin = "sidecar" if source == "sidecar" else "xmp"
    dates = (parse_date(single.get(name, "")) for name in DATE_PROPERTIES)
    taken = next((date for date in dates if date), None)
    latitude, longitude = (parse_xmp_degrees(single.get(n, "")) for n in (LATITUDE, LONGITUDE))
    ratings = (parse_rating(single.get(name, "")) for name in RATING_PROPERTIES)
    rating = next((stars for stars in ratings if stars), None)
    return FileCaptions(
        merge_captions(captions),
        normalize_tags([*tag_values, *people]),
        {"rating": rating} if rating else {},
        taken=Taken(taken, origin) if taken else None,
        place=make_place(latitude, longitude, origin),
    )


def parse_rating(text: str) -> int | None:
    """Return a rating from 1 to 5 stars; None where there is none, or the image is rejected.

    Windows counts in percent of five stars: 1, 25, 50, 75, 99.
    """
    try:
        rating = float(text)
    except ValueError:
        return None
    if not math.isfinite(rating):
        return None
    stars = round(rating) if rating <= 5 else 1 + round(rating / 25)
    return stars if 1 <= stars <= 5 else None


def _split_keyword(text: str, separator: str) -> list[str]:
    """Split `Places|Europe|Rome` into its levels: each is a tag."""
    if text.startswith(INTERNAL_TAGS):
        return []
    return text.split(separator) if separator else [text]


def _find_regions(root: Element) -> list[str]:
    """Return the names of the faces that are marked in an image."""
    names = []
    for element in root.iter():
        found = [element.get(f"{REGIONS}Name"), element.findtext(f"{REGIONS}Name")]
        kind = element.get(f"{REGIONS}Type") or element.findtext(f"{REGIONS}Type") or "Face"
        names += found if kind in {"Face", "Pet"} else []
        names.append(element.get(f"{MICROSOFT_REGION}PersonDisplayName"))
        names.append(element.findtext(f"{MICROSOFT_REGION}PersonDisplayName"))
    return [name for name in names if name]


def _parse_xml(packet: bytes) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    plain = packet.rstrip(b"\0 \r\n\t")
    if b"\0" in packet[:8] and len(plain) % 2:
        plain += b"\0"  # the other half of the last character, of UTF-16 little endian
    try:
        root: Element = fromstring(plain)
    except (ParseError, DefusedXmlException, LookupError) as error:
        raise ValueError(f"broken XMP: {error}") from None
    return root


def _iterate_properties(root: Element) -> Iterator[tuple[str, str | None, str]]:
    """Yield (property, language, text) of simple properties, arrays and language alternatives."""
    for block in root.iter(f"{RDF}Description"):
        for name, text in block.attrib.items():
            yield name, None, text
        for element in block:
            items = [item for array in element for item in array if item.tag == f"{RDF}li"]
            for item in items:
                yield element.tag, parse_language_tag(item.get(LANG, "")), item.text or ""
            if not items:
                yield element.tag, None, element.text or ""
