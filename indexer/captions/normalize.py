"""Tidying what people and cameras wrote: control characters, junk, duplicates, lengths."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable

from indexer.types import Caption

MAX_CAPTION_CHARACTERS = 2000  # characters
MAX_CAPTIONS = 32
MAX_TAG_CHARACTERS = 100
MAX_TAGS = 64
MAX_METADATA_ITEMS = 64

CONTROL_PATTERN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]+"
)
SPACE_PATTERN = re.compile(r"[^\S\n]+")
LINE_BREAK_PATTERN = re.compile(r"\s*\n\s*")

# what cameras and programs write where a person's words should be; compared in lower case
PLACEHOLDER_PATTERN = re.compile(
    r"(olympus|konica minolta|minolta|kodak|samsung|fujifilm|casio|sanyo|ricoh|pentax|vivitar|"
    r"medion|polaroid|praktica|rollei|traveler)?\s*digital (still )?camera|"
    r"sony dsc|dsc[_\s-]?\d*|dcim|img[_\s-]?\d+|ascii|unicode|default|untitled|screenshot|"
    r"created (with|by) (the )?(gimp|inkscape|paint).*|processed with .*|"
    r"<?(image|photo)?\s*(description|comment|title)>?|user comments?|"
    r"charset=.*|lead technologies.*|file written by adobe photoshop.*|"
    r"(hdr|cof|bty|sdr|mde|rbm|ptr|edf|jpeg|rhdr|dav|oznor|nor|cinema|vtls|ytn|nfr)([_-]\w+)*|"
    r"maker:.*|[\W\d_]*",
    re.DOTALL,
)


def normalize_text(text: str, limit: int = MAX_CAPTION_CHARACTERS) -> str:
    """`text` in NFC without control characters, with single spaces, at most `limit` long."""
    text = CONTROL_PATTERN.sub(" ", unicodedata.normalize("NFC", text[: 4 * limit]))
    return LINE_BREAK_PATTERN.sub("\n", SPACE_PATTERN.sub(" ", text)).strip()[:limit].rstrip()


def make_caption(text: str, language: str | None, source: str) -> Caption | None:
    """The tidied caption, or None where nothing is left that a person would have written."""
    normalized = normalize_text(text)
    embedded = source == "embedded"
    if not normalized or (embedded and PLACEHOLDER_PATTERN.fullmatch(normalized.lower())):
        return None
    return Caption(normalized, language, source)


def merge_captions(captions: Iterable[Caption | None]) -> tuple[Caption, ...]:
    """The distinct captions in their order; of two alike, the one that knows its language."""
    kept: dict[tuple[str, str | None], Caption] = {}
    for item in captions:
        if item is None:
            continue
        folded = item.text.casefold()
        if item.language is None and any(known == folded for known, _ in kept):
            continue
        if item.language is not None and (folded, None) in kept:
            # keep its place in the order
            kept = {
                ((folded, item.language) if key == (folded, None) else key): (
                    item if key == (folded, None) else value
                )
                for key, value in kept.items()
            }
        kept.setdefault((folded, item.language), item)
    return tuple(kept.values())[:MAX_CAPTIONS]


def normalize_tags(values: Iterable[str]) -> tuple[str, ...]:
    """The distinct tags in their order, tidied."""
    kept: dict[str, str] = {}
    for tag in (normalize_text(value, MAX_TAG_CHARACTERS) for value in values):
        if tag:
            kept.setdefault(tag.casefold(), tag)
    return tuple(kept.values())[:MAX_TAGS]


def split_tags(text: str) -> list[str]:
    """One cell's tags: separated by semicolons, bars or line ends; else by commas."""
    separator = r"[;|\n]" if re.search(r"[;|\n]", text) else r"[,，、]"
    return re.split(separator, text)


def to_payload_value(value: object) -> str | int | float | None:
    """`value` as a payload can hold it, or None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)[:MAX_TAG_CHARACTERS]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return (normalize_text(value) or None) if isinstance(value, str) else None
