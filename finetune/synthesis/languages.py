"""The languages that samples are written in: their weights and scripts.

The list is that of XLM-R (https://arxiv.org/abs/1911.02116, appendix A), as in mmE5. Languages with
more written text are drawn more often.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

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


# weight, scripts: code:name ...
LANGUAGE_TABLE = """
20 LATIN: en:English
5 LATIN: de:German es:Spanish fr:French it:Italian pt:Portuguese
5 CJK|IDEOGRAPHIC: zh:Chinese
5 HIRAGANA|KATAKANA|CJK|KATAKANA-HIRAGANA|IDEOGRAPHIC: ja:Japanese
5 HANGUL: ko:Korean
5 CYRILLIC: ru:Russian
5 ARABIC: ar:Arabic
5 DEVANAGARI: hi:Hindi
3 LATIN: cs:Czech da:Danish fi:Finnish hu:Hungarian id:Indonesian nl:Dutch no:Norwegian
    pl:Polish ro:Romanian sv:Swedish tr:Turkish vi:Vietnamese
3 CYRILLIC: bg:Bulgarian uk:Ukrainian
3 ARABIC: fa:Persian
3 GREEK: el:Greek
3 HEBREW: he:Hebrew
3 THAI: th:Thai
3 BENGALI: bn:Bengali
2 LATIN: ca:Catalan et:Estonian fil:Filipino hr:Croatian lt:Lithuanian lv:Latvian ms:Malay
    sk:Slovak sl:Slovenian sw:Swahili
2 CYRILLIC|LATIN: sr:Serbian
2 ARABIC: ur:Urdu
2 TAMIL: ta:Tamil
2 TELUGU: te:Telugu
2 DEVANAGARI: mr:Marathi
1 LATIN: af:Afrikaans az:Azerbaijani br:Breton bs:Bosnian cy:Welsh eo:Esperanto eu:Basque
    fy:Western_Frisian ga:Irish gd:Scottish_Gaelic gl:Galician ha:Hausa is:Icelandic jv:Javanese
    la:Latin mg:Malagasy om:Oromo so:Somali sq:Albanian su:Sundanese xh:Xhosa
1 LATIN|CYRILLIC: uz:Uzbek
1 LATIN|ARABIC: ku:Kurdish
1 CYRILLIC: be:Belarusian kk:Kazakh ky:Kyrgyz mk:Macedonian mn:Mongolian
1 ARABIC: ps:Pashto sd:Sindhi ug:Uyghur
1 DEVANAGARI: ne:Nepali sa:Sanskrit
1 BENGALI: as:Assamese
1 HEBREW: yi:Yiddish
1 ETHIOPIC: am:Amharic
1 ARMENIAN: hy:Armenian
1 GEORGIAN: ka:Georgian
1 GUJARATI: gu:Gujarati
1 GURMUKHI: pa:Punjabi
1 KANNADA: kn:Kannada
1 KHMER: km:Khmer
1 LAO: lo:Lao
1 MALAYALAM: ml:Malayalam
1 MYANMAR: my:Burmese
1 ORIYA: or:Odia
1 SINHALA: si:Sinhala
"""


def _parse_table() -> Iterator[Language]:
    weight = 0
    scripts: tuple[str, ...] = ()
    for line in LANGUAGE_TABLE.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            weight, scripts = int(words.pop(0)), tuple(words.pop(0).rstrip(":").split("|"))
        for word in words:
            code, name = word.split(":")
            yield Language(code, name.replace("_", " "), weight, scripts)


LANGUAGES = {language.code: language for language in _parse_table()}


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
