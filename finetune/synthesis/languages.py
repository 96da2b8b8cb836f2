"""The languages that samples are written in: their weights and scripts.

The list in languages.csv is that of XLM-R (https://arxiv.org/abs/1911.02116, appendix A), as in
mmE5. Languages with more written text are drawn more often.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path

from finetune.errors import FinetuneError

MIN_SCRIPT_SHARE = 0.5  # of the letters: names and brands keep their own script
MAX_KANJI_ONLY_LETTERS = 10  # a longer text without kana is Chinese
ENGLISH_WORDS = frozenset(("the", "and", "with", "this", "that", "what", "which", "from", "there"))
ENGLISH_SHARE = 1 / 6  # of the words


@dataclass(frozen=True, slots=True)
class Language:
    """A language. `code`: lower-case BCP 47 tag; `scripts`: first words of its letters' names."""

    code: str
    name: str
    weight: int
    scripts: tuple[str, ...]


def _read_languages() -> Iterator[Language]:
    table = Path(__file__).with_name("languages.csv").read_text("utf-8")
    for row in csv.DictReader(table.splitlines()):
        scripts = tuple(row["scripts"].split())
        yield Language(row["code"], row["name"], int(row["weight"]), scripts)


LANGUAGES = {language.code: language for language in _read_languages()}


def parse_language_weights(text: str | None) -> dict[str, float]:
    """Parse `en=3,ja,de=0.5` to weights by code; None selects all languages."""
    if text is None:
        return {code: language.weight for code, language in LANGUAGES.items()}
    return parse_weights(text, LANGUAGES, "--languages")


def parse_weights(text: str, choices: Collection[str], option: str) -> dict[str, float]:
    """Parse `classification=1,vqa=1,retrieval` to positive weights by name.

    A name without a weight has weight 1, and a weight of 0 removes the name. Raises
    `FinetuneError`.
    """
    weights: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (part.strip().lower() for part in item.partition("="))
        if name not in choices:
            raise FinetuneError(
                f"{option}: unknown name {name!r}; choose from {', '.join(choices)}"
            )
        try:
            weights[name] = float(number or "1")
        except ValueError:
            weights[name] = -1.0
        if not isfinite(weights[name]) or weights[name] < 0:
            raise FinetuneError(f"{option}: the weight in {item!r} must be a number, 0 or more")
    positive = {name: weight for name, weight in weights.items() if weight > 0}
    if not positive:
        raise FinetuneError(f"{option}: nothing is left to choose from; write NAME=WEIGHT,...")
    return positive


def is_plausible_language(text: str, language: Language) -> bool:
    """Return False if `text` is clearly in another language, judged by its letters.

    Between languages of one script only English is recognized: language models fall back to it.
    A text without letters fits every language.
    """
    scripts = [_get_script(letter) for letter in text if letter.isalpha()]
    if sum(script in language.scripts for script in scripts) < MIN_SCRIPT_SHARE * len(scripts):
        return False
    if language.code == "ja" and len(scripts) > MAX_KANJI_ONLY_LETTERS:
        return not {"HIRAGANA", "KATAKANA"}.isdisjoint(scripts)
    if language.code == "en":
        return True
    words = re.findall(r"[^\W\d_]+", text.lower())
    english = sum(word in ENGLISH_WORDS for word in words)
    return len(words) < 4 or english < ENGLISH_SHARE * len(words)


@lru_cache(maxsize=4096)
def _get_script(letter: str) -> str:
    """Return the first word of the letter's Unicode name: LATIN, CYRILLIC, CJK..."""
    return unicodedata.name(letter, "").split(" ")[0]
