"""What is written about a file, and its normalization: captions, tags, metadata."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from indexer.captions.dates import Taken, choose_taken
from indexer.captions.places import Place, choose_place
from indexer.types import Caption

Row = Mapping[str, object]
"""A row of a table: column -> value."""

MAX_CAPTION_CHARACTERS = 2000
MAX_CAPTIONS = 32
MAX_TAG_CHARACTERS = 100
MAX_TAGS = 64
MAX_METADATA_ITEMS = 64
MAX_KEY_CHARACTERS = 64

CONTROL_PATTERN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]+"
)
SPACE_PATTERN = re.compile(r"[^\S\n]+")
LINE_BREAK_PATTERN = re.compile(r"\s*\n\s*")

# what cameras and programs write into caption fields; compared in lower case
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


@dataclass(frozen=True, slots=True)
class FileCaptions:
    """What is written about a file, in one place or in all.

    `stamp` changes with everything that is written about it, and is "" if there is nothing. `taken`
    is when an image was taken, and `place` where.
    """

    captions: tuple[Caption, ...] = ()
    tags: tuple[str, ...] = ()
    meta: dict[str, str | int | float] = field(default_factory=dict)
    stamp: str = ""
    taken: Taken | None = None
    place: Place | None = None


def merge_file_captions(parts: Iterable[FileCaptions], stamp: str = "") -> FileCaptions:
    """Return what `parts` say together; in the metadata later parts win."""
    parts = list(parts)
    meta = {key: value for part in parts for key, value in part.meta.items()}
    return FileCaptions(
        merge_captions(caption for part in parts for caption in part.captions),
        tuple(dict.fromkeys(tag for part in parts for tag in part.tags)),
        dict(list(meta.items())[:MAX_METADATA_ITEMS]),
        stamp,
        choose_taken(part.taken for part in parts),
        choose_place(part.place for part in parts),
    )


def normalize_text(text: str, limit: int = MAX_CAPTION_CHARACTERS) -> str:
    """Return `text` in NFC, without control characters, with single spaces, cut to `limit`."""
    text = CONTROL_PATTERN.sub(" ", unicodedata.normalize("NFC", text[: 4 * limit]))
    return LINE_BREAK_PATTERN.sub("\n", SPACE_PATTERN.sub(" ", text)).strip()[:limit].rstrip()


def normalize_key(name: str) -> str:
    """Return the payload key of a column: Qdrant cannot look up double quotes and backslashes."""
    return normalize_text(name, MAX_KEY_CHARACTERS).translate({ord('"'): "'", ord("\\"): "/"})


def make_caption(text: str, language: str | None, source: str) -> Caption | None:
    """Return the normalized caption; None if nothing is left that a person would have written."""
    normalized = normalize_text(text)
    embedded = source == "embedded"
    if not normalized or (embedded and PLACEHOLDER_PATTERN.fullmatch(normalized.lower())):
        return None
    return Caption(normalized, language, source)


def merge_captions(captions: Iterable[Caption | None]) -> tuple[Caption, ...]:
    """Remove duplicates and keep the order; of two equal texts the one with a language wins."""
    merged: list[Caption] = []
    positions: dict[str, dict[str | None, int]] = {}  # text -> language -> position
    for caption in captions:
        if caption is None:
            continue
        known = positions.setdefault(caption.text.casefold(), {})
        if caption.language in known or (known and caption.language is None):
            continue
        position = known.pop(None, len(merged))
        merged[position : position + 1] = [caption]  # appends, or takes the place of the other
        known[caption.language] = position
    return tuple(merged[:MAX_CAPTIONS])


def normalize_tags(values: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct normalized tags in their order."""
    tags: dict[str, str] = {}
    for tag in (normalize_text(value, MAX_TAG_CHARACTERS) for value in values):
        if tag:
            tags.setdefault(tag.casefold(), tag)
    return tuple(tags.values())[:MAX_TAGS]


def split_tags(text: str) -> list[str]:
    """Split a cell into tags: at semicolons, bars or line ends; without those, at commas."""
    separator = r"[;|\n]" if re.search(r"[;|\n]", text) else r"[,，、]"
    return re.split(separator, text)


def to_payload_value(value: object) -> str | int | float | None:
    """Return `value` as a payload can store it; None if it cannot."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)[:MAX_TAG_CHARACTERS]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    return (normalize_text(value) or None) if isinstance(value, str) else None
