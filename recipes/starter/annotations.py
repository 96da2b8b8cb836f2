"""Names and keywords of emoji in 32 languages, from the Unicode CLDR (Unicode License v3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedder.families.starter import LANGUAGES
from embedder.families.starter.translation import normalize_word

SKIN_TONES = range(0x1F3FB, 0x1F400)
FLAGS = range(0x1F1E6, 0x1F200)
ZODIAC = frozenset(map(chr, [*range(0x2648, 0x2654), 0x26CE]))


@dataclass(frozen=True, slots=True)
class Annotation:
    """An emoji's short name and its keywords, as folded words."""

    name: str
    keywords: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([self.name, *self.keywords]))


Annotations = Mapping[str, Annotation]
"""Emoji, without variation selectors -> its name and keywords in one language."""


def read_annotations(sources: Mapping[str, Path]) -> dict[str, Annotations]:
    """Language -> its annotations; skin tones are left out."""
    return {language: _read_language(sources, language) for language in LANGUAGES}


def emoji_from_path(path: Path) -> str | None:
    """The emoji of an image whose file name has its code points: `1f408-200d-2b1b.png`."""
    try:
        points = [int(part, 16) for part in path.stem.lower().split("-")]
        emoji = "".join(map(chr, points)).replace("\ufe0f", "")
    except (ValueError, OverflowError):
        return None
    return None if any(point in SKIN_TONES for point in points) else emoji


def is_flag(emoji: str) -> bool:
    return ord(emoji[0]) in FLAGS


def _read_language(sources: Mapping[str, Path], language: str) -> Annotations:
    found: dict[str, Annotation] = {}
    for package, kind in (("cldr", "annotations"), ("cldr-derived", "annotationsDerived")):
        path = sources[package] / "package" / kind / language / "annotations.json"
        if path.exists():
            found.update(_read(path, kind))
    return found


def _read(path: Path, kind: str) -> dict[str, Annotation]:
    plain = json.loads(path.read_text("utf-8"))[kind]["annotations"]
    return {
        emoji.replace("\ufe0f", ""): Annotation(
            normalize_word(entry["tts"][0]),
            tuple(normalize_word(word) for word in entry.get("default", [])),
        )
        for emoji, entry in plain.items()
        if entry.get("tts") and not any(ord(c) in SKIN_TONES for c in emoji)
    }
