"""XMP: the titles, descriptions, keywords and dates that photo programs write as XML.

Adobe, XMP Specification Part 1 (ISO 16684-1); the IPTC Photo Metadata Standard for alt texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from indexer.captions.normalize import (
    FileCaptions,
    make_caption,
    merge_captions,
    normalize_tags,
    parse_language_tag,
)
from indexer.types import Caption

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BYTES = 4 << 20
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"
IPTC = "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}"
EXIF = "{http://ns.adobe.com/exif/1.0/}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

CAPTION_PROPERTIES = (
    f"{DC}title",
    f"{DC}description",
    f"{PHOTOSHOP}Headline",
    f"{IPTC}AltTextAccessibility",
    f"{IPTC}ExtDescrAccessibility",
)
DATE_PROPERTIES = (f"{EXIF}DateTimeOriginal", f"{PHOTOSHOP}DateCreated")
# a packet without any of these words has nothing to read and is not parsed
RELEVANT_WORDS = (b"title", b"description", b"subject", b"Headline", b"Accessibility", b"Date")


def parse_xmp_sidecar(data: bytes, language: str | None, image_name: str) -> FileCaptions:
    """Parse an XMP sidecar; its captions name their own languages."""
    return parse_xmp(data, "sidecar")[0]


def parse_xmp(packet: bytes, source: str) -> tuple[FileCaptions, str]:
    """Parse an XMP packet.

    Returns:
        Its captions and tags, and when the image was taken: as written, "" if it does not say.

    Raises:
        ValueError: Broken XML, entities, or a huge packet.
    """
    if len(packet) > MAX_BYTES:
        raise ValueError(f"an XMP packet of more than {MAX_BYTES >> 20} MB")
    if not any(word in packet for word in RELEVANT_WORDS) and b"\0" not in packet[:8]:
        return FileCaptions(), ""
    root = _parse_xml(packet)
    captions: list[Caption | None] = []
    tag_values: list[str] = []
    dates: dict[str, str] = {}
    for name, language, text in _iterate_properties(root):
        if name in CAPTION_PROPERTIES:
            captions.append(make_caption(text, language, source))
        elif name == f"{DC}subject":
            tag_values.append(text)
        elif name in DATE_PROPERTIES:
            dates.setdefault(name, text.strip())
    taken = next((dates[name] for name in DATE_PROPERTIES if dates.get(name)), "")
    return FileCaptions(merge_captions(captions), normalize_tags(tag_values)), taken


def _parse_xml(packet: bytes) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(packet.rstrip(b"\0 \r\n\t"))
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
