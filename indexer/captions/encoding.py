"""Texts in the encodings that files have."""

from __future__ import annotations

import re

BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
KANA_PATTERN = re.compile("[\u3040-\u30ff]")
JAPANESE_PATTERN = re.compile("[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]")


def decode_text(data: bytes) -> str:
    """Decode `data` by its byte order mark, as UTF-8, or in the most likely legacy encoding.

    Raises:
        ValueError: `data` holds control bytes, so it is not text.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    if CONTROL_BYTES.search(data):
        raise ValueError("it contains control bytes, so it is not text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(_detect_encoding(data), "replace")


def _detect_encoding(data: bytes) -> str:
    for encoding in ("cp932", "euc_jp"):
        if _is_japanese(data, encoding):
            return encoding
    if len(data) >= 64:  # statistics on less are worse than the most common answer
        from charset_normalizer import from_bytes

        best = from_bytes(data[:65536]).best()
        if best is not None:
            return best.encoding
    return "cp1252"


def _is_japanese(data: bytes, encoding: str) -> bool:
    """Whether most of what is not ASCII decodes to kana and kanji."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    non_ascii = sum(ord(c) > 127 for c in text)
    kana, japanese = len(KANA_PATTERN.findall(text)), len(JAPANESE_PATTERN.findall(text))
    return kana > 0.15 * non_ascii and japanese > 0.8 * non_ascii
