"""Texts in the encodings that files have.

UTF-8 first. What is not UTF-8 was mostly written by Windows: its code pages are told apart by the
alphabets of the languages that they are for. Statistics on bytes, which are wrong about most
sentences of western languages, come last.
"""

from __future__ import annotations

import locale
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
MAX_CONTROL_SHARE = 0.02  # of the bytes of a text; more, and it is something else
MAX_DAMAGED_SHARE = 0.1  # of the characters beyond ASCII in UTF-8
SAMPLE_BYTES = 65_536
MIN_STATISTICS_BYTES = 64  # statistics on less are worse than the most common answer
MIN_COVERAGE = 0.8
KANA_PATTERN = re.compile("[\u3040-\u30ff]")
JAPANESE_PATTERN = re.compile("[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]")
WORD_PATTERN = re.compile(r"[^\W_]+|[^\x00-\x7f]")
SYMBOL_PATTERN = re.compile(
    r"(?<=[^\W\d_])(?:[^\w\s\x00-\x7f‘’–—·\u00ad\u00a0…\u0591-\u065f\u0e31-\u0e4e](?=[^\W\d_])|[¼½¾¿¡¥£¢¤¦§¶¯])"
)
HEBREW_READ_AS = {
    encoding: frozenset(bytes(range(0xE0, 0xFB)).decode(encoding))
    for encoding in ("cp1251", "cp1253")
}
MIN_COVERAGES = {"cp1255": 0.95, "cp1256": 0.95, "cp874": 0.95}  # they have letters in most places

PUNCTUATION = frozenset("‘’‚“”„‹›«»–—…•·¡¿§©®™°€£¥±²³½¼¾×´¨¸\u00a0\u00ad")
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяё"
_HEBREW = "".join(map(chr, range(0x5B0, 0x5EB)))
_ARABIC = "".join(map(chr, range(0x621, 0x653))) + "پچژگک،؛؟"
_THAI = "".join(map(chr, range(0xE01, 0xE5C)))
ALPHABETS = {
    # the letters beyond ASCII of languages, by the code pages that their texts are written in
    ("cp1252", "cp850", "mac_roman"): (
        "äöüß àâæçéèêëîïôœùûüÿ áéíñóúüïç áâãàçéêíóôõúü àèéìíîòóùú áèéëêïíóöúü æøåéèêóòôüä "
        "äöåéüàšž äöåæøéü àçèéíïòóúü· õäöüšž áéíóú âêîôûŵŷ áéëïóöüà áíóúýæø áðéíóúýþæö"
    ),
    ("cp1254",): "çğıöşüİâîû",
    ("cp1250",): ("áčďéěíňóřšťúůýž ąćęłńóśźż áéíóöőúüű áäčďéíĺľňóôŕšťúýž čćđšž ăâîşţ äčöüßšž"),
    ("cp1257",): "ąčęėįšųūž āčēģīķļņšūž õäöüšž",
    ("cp1251", "koi8_r", "cp866"): (
        f"{_CYRILLIC} ўі{_CYRILLIC} абвгґдеєжзиіїйклмнопрстуфхцчшщьюя "
        "абвгдђежзијклљмнњопрстћуфхцчџш"
    ),
    ("cp1253",): "αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώϊϋΐΰ",
    ("cp1255",): _HEBREW,
    ("cp1256",): _ARABIC,
    ("cp874",): _THAI,
}


def decode_text(data: bytes) -> str:
    """Decode `data` by its byte order mark, as UTF-8, or in the most likely legacy encoding.

    A few control bytes and damaged characters do not make it unreadable.

    Raises:
        ValueError: `data` holds many control bytes, so it is not text.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace" if encoding == "utf-8-sig" else "strict")
    control_bytes = len(CONTROL_BYTES.findall(data))
    if control_bytes > max(1, MAX_CONTROL_SHARE * len(data)):
        order = _detect_utf16(data)
        if order is None:
            raise ValueError("it contains control bytes, so it is not text")
        return data.decode(order, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(_detect_encoding(data), "replace")


def _detect_utf16(data: bytes) -> str | None:
    """Return the byte order of UTF-16 without a mark: every second byte of Latin text is 0."""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    half = len(data) / 2
    if len(data) < 4 or max(even, odd) < 0.5 * half or min(even, odd) > MAX_CONTROL_SHARE * half:
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _detect_encoding(data: bytes) -> str:
    sample = data[:SAMPLE_BYTES]
    text = sample.decode("utf-8", "replace")
    if text.count("\ufffd") <= MAX_DAMAGED_SHARE * sum(c > "\x7f" for c in text):
        return "utf-8"
    for encoding, is_language in EAST_ASIAN.items():
        if is_language(data, encoding):
            return encoding
    coverage, encoding = _find_code_page(sample)
    if coverage < MIN_COVERAGE and len(sample) >= MIN_STATISTICS_BYTES:
        from charset_normalizer import from_bytes

        best = from_bytes(sample).best()
        if best is not None:
            return best.encoding
    return encoding


def _find_code_page(data: bytes) -> tuple[float, str]:
    """Return the code page in which most of `data` is the alphabet of one language, and how much:
    from 0 to 1. Of several, the first; that of the system is before all."""
    best = (0.0, "cp1252")
    for encoding, alphabets in _iterate_code_pages():
        text = data.decode(encoding, "replace")
        words = " ".join(WORD_PATTERN.findall(text))
        others = [c for c in words if c > "\x7f" and c not in PUNCTUATION]
        misplaced = _count_misplaced(words) + _count_symbols_in_words(text)
        for alphabet in alphabets.split():
            known = sum(c.lower() in alphabet or c in alphabet for c in others)
            coverage = max(0, known - misplaced) / len(others) if others else 1.0 - bool(misplaced)
            if coverage < MIN_COVERAGES.get(encoding, 0) or _is_unlikely(encoding, text):
                continue
            if coverage > best[0]:
                best = (coverage, encoding)
    return best


def _iterate_code_pages() -> Iterator[tuple[str, str]]:
    system = locale.getpreferredencoding(False).lower().replace("-", "").replace("windows", "cp")
    found = [(name, alphabets) for names, alphabets in ALPHABETS.items() for name in names]
    # code pages of DOS and the Mac come after those of Windows
    found.sort(key=lambda item: (item[0] != system, not item[0].startswith(("cp12", "cp87"))))
    yield from found


def _count_misplaced(words: str) -> int:
    """Count capitals beyond ASCII that follow a small letter: the other half of a code page."""
    return sum(a.islower() and b.isupper() and b > "\x7f" for a, b in pairwise(words))


def _count_symbols_in_words(text: str) -> int:
    """Count what is no letter within words, but for apostrophes, hyphens and the like."""
    return len(SYMBOL_PATTERN.findall(text))


def _is_unlikely(encoding: str, text: str) -> bool:
    """Whether Turkish is read as Icelandic, whose þ begins words and whose vowels have accents; or
    Hebrew as Cyrillic or Greek, of which it would have a part of the letters alone."""
    if encoding == "cp1252" and re.search("[ÝÞðýþ]", text):
        has_accents = re.search("[áéíóúæÁÉÍÓÚÆ]", text)
        return not has_accents and bool(re.search(r"\wþ|ý\b|[ıcz]", text))
    letters = [c for c in text if c > "\x7f" and c.isalpha()]
    return len(letters) > 15 and set(letters) <= HEBREW_READ_AS.get(encoding, set())


def _is_chinese(data: bytes, encoding: str) -> bool:
    """Whether what is not ASCII decodes to common characters, the first level of GB 2312."""
    leads = _find_leads(data, "gb2312")
    return bool(leads) and sum(0xB0 <= lead <= 0xD7 for lead in leads) > 0.7 * len(leads)


def _is_korean(data: bytes, encoding: str) -> bool:
    """Whether what is not ASCII decodes to Hangul."""
    leads = _find_leads(data, encoding)
    return bool(leads) and sum(0xB0 <= lead <= 0xC8 for lead in leads) > 0.9 * len(leads)


def _find_leads(data: bytes, encoding: str) -> list[int]:
    """Return the first byte of each character of two bytes, without punctuation."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return []
    return [lead for c in text if c > "\x7f" and (lead := c.encode(encoding)[0]) >= 0xB0]


def _is_japanese(data: bytes, encoding: str) -> bool:
    """Whether most of what is not ASCII decodes to kana and kanji."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    non_ascii = sum(ord(c) > 127 for c in text)
    kana, japanese = len(KANA_PATTERN.findall(text)), len(JAPANESE_PATTERN.findall(text))
    return kana > 0.15 * non_ascii and japanese > 0.8 * non_ascii


EAST_ASIAN: Mapping[str, Callable[[bytes, str], bool]] = {
    "cp932": _is_japanese,
    "euc_jp": _is_japanese,
    "euc_kr": _is_korean,
    "gb18030": _is_chinese,
}
"""Encoding -> whether bytes are text of its language in it."""
