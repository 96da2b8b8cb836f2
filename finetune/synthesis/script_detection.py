"""Whether a text can be in the language that was asked for, as far as its letters tell.

Between languages of one script, only English in the place of another is noticed: it is what a
language model falls back to.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from finetune.synthesis.languages import Language

MIN_SCRIPT_SHARE = 0.5  # of the letters: names and brands keep their own script
MAX_KANJI_ONLY_LETTERS = 10  # letters; longer Japanese without kana is Chinese
ENGLISH_WORDS = frozenset(("the", "and", "with", "this", "that", "what", "which", "from", "there"))
ENGLISH_SHARE = 1 / 6  # of the words


def is_plausible_language(text: str, language: Language) -> bool:
    """False where `text` is clearly in another language; what has no letters can be in any."""
    letters = [letter for letter in text if letter.isalpha()]
    in_script = sum(get_script(letter) in language.scripts for letter in letters)
    if in_script < MIN_SCRIPT_SHARE * len(letters):
        return False
    if language.code == "ja" and len(letters) > MAX_KANJI_ONLY_LETTERS:
        return any(get_script(letter) in {"HIRAGANA", "KATAKANA"} for letter in letters)
    return language.code == "en" or not _is_english(text)


@lru_cache(maxsize=4096)
def get_script(letter: str) -> str:
    """The first word of a letter's Unicode name: LATIN, CYRILLIC, CJK..."""
    return unicodedata.name(letter, "").split(" ")[0]


def _is_english(text: str) -> bool:
    words = re.findall(r"[^\W\d_]+", text.lower())
    return len(words) >= 4 and sum(w in ENGLISH_WORDS for w in words) >= ENGLISH_SHARE * len(words)
