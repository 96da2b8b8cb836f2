"""Metadata inside an image file: EXIF, IPTC and XMP -> captions, tags, date, camera, place."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from indexer.captions.dates import Taken, choose_taken, parse_date
from indexer.captions.encoding import decode_text
from indexer.captions.normalize import (
    FileCaptions,
    make_caption,
    merge_captions,
    normalize_tags,
    normalize_text,
    split_tags,
)
from indexer.captions.places import Place, choose_place, make_place
from indexer.captions.xmp import parse_rating, parse_xmp
from indexer.types import Caption

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
D = TypeVar("D")
IptcData = dict[tuple[int, int], list[str]]

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
IMAGE_DESCRIPTION, MAKE, MODEL = 0x010E, 0x010F, 0x0110
XP_TITLE, XP_COMMENT, XP_KEYWORDS, XP_SUBJECT = 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F
RATING, DATE_TIME, USER_COMMENT = 0x4746, 0x0132, 0x9286
DATE_TIME_ORIGINAL, DATE_TIME_DIGITIZED = 0x9003, 0x9004
OFFSET_TIME, OFFSET_TIME_ORIGINAL, OFFSET_TIME_DIGITIZED = 0x9010, 0x9011, 0x9012
IPTC_RESOURCE = 0x0404  # of Photoshop's block in a JPEG
IPTC_TIFF = 33723
IPTC_EXTENDED = 0x8000  # of the length of a dataset
IPTC_CHARSET, IPTC_TITLE, IPTC_KEYWORD = (1, 90), (2, 5), (2, 25)
IPTC_HEADLINE, IPTC_CAPTION = (2, 105), (2, 120)
IPTC_DATE, IPTC_TIME = (2, 55), (2, 60)
IPTC_TIME_PATTERN = re.compile(r"(\d\d)(\d\d)(\d\d)(?:([+-]\d\d)(\d\d))?")  # 183000+0200
EXIF_HEADER = b"Exif\0\0"
TYPE_ASCII, TYPE_UTF8 = 2, 129
UTF8_ESCAPE = b"\x1b%G"
PNG_TEXTS = ("Title", "Description")
CAPTION_SOURCE = "embedded"


@dataclass(frozen=True, slots=True)
class EmbeddedMetadata:
    """The metadata of an image file.

    `rating` is from 1 to 5 stars.
    """

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    taken: Taken | None = None
    camera: str | None = None
    place: Place | None = None
    rating: int | None = None


def read_embedded_metadata(image: Image) -> EmbeddedMetadata:
    """Read the metadata of a file that Pillow has opened. A damaged part counts as absent."""
    no_exif: Mapping[int, object] = {}
    exif = _call_or_default(lambda: _load_exif(image), no_exif)
    details, gps = _read_ifd(exif, EXIF_IFD), _read_ifd(exif, GPS_IFD)
    xmp = _call_or_default(lambda: _read_xmp(image), FileCaptions())
    iptc: IptcData = _call_or_default(lambda: _read_iptc(image), {})
    texts = [
        *(text for key in (IPTC_TITLE, IPTC_HEADLINE, IPTC_CAPTION) for text in iptc.get(key, [])),
        _decode_exif_ascii(exif.get(IMAGE_DESCRIPTION)),
        *(_decode_windows_text(exif.get(tag)) for tag in (XP_TITLE, XP_SUBJECT, XP_COMMENT)),
        _decode_user_comment(details.get(USER_COMMENT), getattr(exif, "endian", None)),
        *(text for key in PNG_TEXTS if isinstance(text := image.info.get(key), str)),
    ]
    captions = [*xmp.captions, *(make_caption(text, None, CAPTION_SOURCE) for text in texts)]
    keywords = split_tags(_decode_windows_text(exif.get(XP_KEYWORDS)))
    return EmbeddedMetadata(
        merge_captions(captions),
        normalize_tags([*xmp.tags, *iptc.get(IPTC_KEYWORD, []), *keywords]),
        choose_taken([*_iterate_dates(exif, details, iptc, image.info), xmp.taken]),
        _format_camera(exif),
        choose_place([_call_or_default(lambda: _parse_coordinates(gps), None), xmp.place]),
        parse_rating(str(exif.get(RATING, ""))) or _get_rating(xmp),
    )


def _call_or_default(read: Callable[[], T], default: D) -> T | D:
    """Call `read`; return `default` if the bytes are damaged in any of the many ways."""
    try:
        return read()
    except Exception:
        return default


def _read_ifd(exif: Any, tag: int) -> dict[int, object]:
    return _call_or_default(lambda: dict(exif.get_ifd(tag)), {})


def _decode_text_or_empty(data: bytes) -> str:
    return _call_or_default(lambda: decode_text(data), "")


def _decode_exif_ascii(value: object) -> str:
    """Decode EXIF's ASCII, which Pillow reads as Latin-1 and which usually is UTF-8."""
    if not isinstance(value, str):
        return ""
    return _decode_text_or_empty(value.encode("latin-1", "ignore").rstrip(b"\0"))


def _decode_windows_text(value: object) -> str:
    """Decode Windows' XP* tags: UTF-16 little endian."""
    if isinstance(value, tuple):
        value = bytes(value)
    return value.decode("utf-16-le", "ignore").rstrip("\0") if isinstance(value, bytes) else ""


def _decode_user_comment(value: object, endian: str | None) -> str:
    """Decode a user comment; its first eight bytes name the encoding (EXIF 2.32, 4.6.5).

    Args:
        value: The bytes.
        endian: The byte order of the file: "<" or ">".
    """
    if not isinstance(value, bytes):
        return ""
    code, text = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        return _decode_unicode(text, endian)
    if code.startswith(b"JIS"):
        return text.decode("iso2022_jp", "ignore")
    text = text if code.startswith((b"ASCII", b"UTF-8", b"\0")) else value
    return _decode_text_or_empty(text.rstrip(b"\0 "))


def _decode_unicode(text: bytes, endian: str | None) -> str:
    """Decode UTF-16, or UTF-8 as EXIF 3 has it.

    UTF-16 is in the byte order that gives far fewer different high bytes, or else that of the file.
    """
    if text[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return text.decode("utf-16", "ignore")
    plain = text.rstrip(b"\0")
    if b"\0" not in plain:
        with suppress(UnicodeDecodeError):
            utf8 = plain.decode()
            if " " in utf8 or len(plain) % 2 or not utf8.isascii() or utf8.isalnum():
                return utf8
    orders = ("utf-16-be", "utf-16-le") if endian == ">" else ("utf-16-le", "utf-16-be")
    first, second = (text.decode(order, "ignore") for order in orders)
    num_first, num_second = (len({ord(c) >> 8 for c in reading}) for reading in (first, second))
    return second if 2 * num_second <= num_first else first


def _load_exif(image: Image) -> Any:
    """Return the EXIF of an image, with texts of type UTF-8 (EXIF 3), which Pillow does not know,
    as its type ASCII."""
    exif = image.getexif()
    data = image.info.get("exif")
    if not isinstance(data, bytes):
        return exif
    start = len(EXIF_HEADER) if data.startswith(EXIF_HEADER) else 0
    order = ">" if data[start : start + 2] == b"MM" else "<"
    changed = bytearray(data)
    with suppress(struct.error):  # of a damaged part, Pillow reads what it can
        offsets = [struct.unpack_from(f"{order}L", data, start + 4)[0]]
        for offset in offsets:
            (count,) = struct.unpack_from(f"{order}H", data, start + offset)
            for at in range(start + offset + 2, start + offset + 2 + 12 * count, 12):
                tag, kind, _, value = struct.unpack_from(f"{order}HHLL", data, at)
                if kind == TYPE_UTF8:
                    struct.pack_into(f"{order}H", changed, at + 2, TYPE_ASCII)
                elif tag == EXIF_IFD and len(offsets) == 1:
                    offsets.append(value)
    if changed != data:
        exif.load(bytes(changed))
    return exif


def _iterate_dates(
    exif: Mapping[int, object],
    details: Mapping[int, object],
    iptc: IptcData,
    info: Mapping[Any, object],
) -> Iterator[Taken]:
    """Yield when the image was taken, as each kind of metadata but XMP has it."""
    iptc_date, iptc_time = ("".join(iptc.get(key, [""])[:1]) for key in (IPTC_DATE, IPTC_TIME))
    iptc_clock = IPTC_TIME_PATTERN.sub(r"\1:\2:\3", iptc_time)
    iptc_offset = IPTC_TIME_PATTERN.sub(r"\4:\5", iptc_time)
    dates = (
        ("exif", details.get(DATE_TIME_ORIGINAL), details.get(OFFSET_TIME_ORIGINAL)),
        ("exif", details.get(DATE_TIME_DIGITIZED), details.get(OFFSET_TIME_DIGITIZED)),
        ("iptc", f"{parse_date(iptc_date)} {iptc_clock}", iptc_offset),
        ("png", info.get("Creation Time"), ""),
        ("edited", exif.get(DATE_TIME), details.get(OFFSET_TIME)),
    )
    for source, text, offset in dates:
        date = parse_date(str(text or ""), str(offset or ""))
        if date:
            yield Taken(date, source)


def _get_rating(xmp: FileCaptions) -> int | None:
    rating = xmp.meta.get("rating")
    return rating if isinstance(rating, int) else None


def _format_camera(exif: Mapping[int, object]) -> str | None:
    make, model = (normalize_text(_decode_exif_ascii(exif.get(tag)), 64) for tag in (MAKE, MODEL))
    brand = make.split(" ")[0].casefold()
    if not make or model.casefold().startswith(brand):
        return model or None
    return f"{make} {model}".strip()


def _parse_coordinates(gps: dict[int, Any]) -> Place | None:
    """Return the place; raises any error if it is absent."""
    latitude, longitude = _parse_degrees(gps[2], gps[1], "S"), _parse_degrees(gps[4], gps[3], "W")
    return make_place(latitude, longitude, "exif")


def _parse_degrees(value: object, side: object, negative: str) -> float:
    if not isinstance(value, tuple):  # bytes or text would pass for numbers
        raise TypeError("not degrees, minutes, seconds")
    size: float = sum(float(part) / 60**i for i, part in enumerate(value[:3]))
    return -size if str(side).strip("\0 ").upper() == negative else size


def _read_xmp(image: Image) -> FileCaptions:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if isinstance(packet, str):
        packet = packet.encode()
    return parse_xmp(bytes(packet), CAPTION_SOURCE) if packet else FileCaptions()


def _read_iptc(image: Image) -> IptcData:
    """Read IPTC-IIM: a sequence of (0x1c, record, dataset, two bytes of length, value).

    The length of an extended dataset follows those two bytes, which say in how many (IIM 4.2).
    """
    block = image.info.get("photoshop")
    data = block.get(IPTC_RESOURCE) if isinstance(block, dict) else None
    if data is None and hasattr(image, "tag_v2"):
        data = image.tag_v2.get(IPTC_TIFF)
    if not isinstance(data, bytes):
        return {}
    datasets: dict[tuple[int, int], list[bytes]] = {}
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C:
        record, dataset, length = struct.unpack_from(">BBH", data, at + 1)
        at += 5
        if length & IPTC_EXTENDED:
            size = length - IPTC_EXTENDED
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        datasets.setdefault((record, dataset), []).append(data[at : at + length])
        at += length
    is_utf8 = UTF8_ESCAPE in datasets.get(IPTC_CHARSET, [b""])[0]
    return {
        key: [v.decode("utf-8", "replace") if is_utf8 else _decode_text_or_empty(v) for v in values]
        for key, values in datasets.items()
    }
