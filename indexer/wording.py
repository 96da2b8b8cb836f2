"""Tidying what people and cameras wrote: control characters, junk, duplicates, lengths."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable

from indexer.types import Caption

MAX_CAPTION = 2000  # characters
MAX_CAPTIONS = 32
MAX_TAG = 100
MAX_TAGS = 64
MAX_META = 64

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]+")
SPACE = re.compile(r"[^\S\n]+")
LINES = re.compile(r"\s*\n\s*")

# what cameras and programs write where a person's words should be; compared in lower case
JUNK = re.compile(
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


def clean(text: str, limit: int = MAX_CAPTION) -> str:
    """`text` in NFC without control characters, with single spaces, at most `limit` long."""
    text = CONTROL.sub(" ", unicodedata.normalize("NFC", text[: 4 * limit]))
    return LINES.sub("\n", SPACE.sub(" ", text)).strip()[:limit].rstrip()


def caption(text: str, language: str | None, source: str) -> Caption | None:
    """The tidied caption, or None where nothing is left that a person would have written."""
    words = clean(text)
    embedded = source == "embedded"
    if not words or (embedded and JUNK.fullmatch(words.lower())):
        return None
    return Caption(words, language, source)


def merge(captions: Iterable[Caption | None]) -> tuple[Caption, ...]:
    """The distinct captions in their order; of two alike, the one that knows its language."""
    kept: dict[tuple[str, str | None], Caption] = {}
    for item in captions:
        if item is None:
            continue
        words = item.text.casefold()
        if item.language is None and any(known == words for known, _ in kept):
            continue
        if item.language is not None and (words, None) in kept:
            # keep its place in the order
            kept = {
                ((words, item.language) if key == (words, None) else key): (
                    item if key == (words, None) else value
                )
                for key, value in kept.items()
            }
        kept.setdefault((words, item.language), item)
    return tuple(kept.values())[:MAX_CAPTIONS]


def tags(values: Iterable[str]) -> tuple[str, ...]:
    """The distinct tags in their order, tidied."""
    kept: dict[str, str] = {}
    for word in (clean(value, MAX_TAG) for value in values):
        if word:
            kept.setdefault(word.casefold(), word)
    return tuple(kept.values())[:MAX_TAGS]


def split_tags(text: str) -> list[str]:
    """One cell's tags: separated by semicolons, bars or line ends; else by commas."""
    separator = r"[;|\n]" if re.search(r"[;|\n]", text) else r"[,，、]"
    return re.split(separator, text)


def scalar(value: object) -> str | int | float | None:
    """`value` as a payload can hold it, or None."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)[:MAX_TAG]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return (clean(value) or None) if isinstance(value, str) else None
