"""Translates the words of short texts into English, with a lexicon of many languages.

The language of a text is the one whose words cover most of it; inflected and compound words are
looked up by their parts. The starter's recipe makes the lexicon; see docs/starter.md.
"""

from __future__ import annotations

import lzma
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from embedder.types import Translation

ENGLISH = "en"
UNDETERMINED = "und"  # words that languages translate differently, with the likeliest translation
MAX_WORDS = 12  # longer texts are sentences, and are not translated
MAX_ENTRY_WORDS = 4
MAX_ENTRY_CHARACTERS = 8  # of an entry in a script without spaces
MIN_STEM = 3  # letters that an inflected word keeps
MAX_ENDING = 3  # letters that it may add
LEMMA_ENDINGS = (
    "", "e", "a", "o", "n", "en", "us", "is", "y",
    "а", "о", "е", "я", "ь", "й", "ый", "ий", "ка", "ος", "α", "ο", "η", "ι",
)  # fmt: skip
ENGLISH_ENDINGS = (
    ("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"),
)  # fmt: skip
PICTURE_WORDS = frozenset(("image", "photo", "photograph", "picture"))
"""Words that say nothing in a query for images, where it has other words."""

PREFIXES = {
    "ar": ("ال", "وال", "بال", "لل", "و", "ب", "ل"),
    "he": ("ה", "ו", "ב", "ל", "מ", "ש", "כ"),
}  # articles, conjunctions and prepositions that are written as one with the noun
COMPOUNDING_LANGUAGES = frozenset({"da", "de", "fi", "hu", "nl", "no", "sv"})
MIN_COMPOUND_PART = 4
COMPOUND_LINKS = ("", "s", "n", "en", "es", "e", "o")
ACCENTED_LANGUAGES = frozenset({"vi"})  # in which accents tell words apart

EDGE_PUNCTUATION = " .!?:;\"'“”„«»‚‘’`´()[]{}。、，！？…·•「」『』（）《》|।॥،؛؟–—-_~*/\\"
WORD_BREAKS = re.compile(
    r"[\s\-‐‑–—_/\\,;:.!?()\[\]{}\"“”„«»|+&*~…·•、。，！？「」『』（）《》・।॥،؛؟]+"
    r"|(?<=\b[cdjlmnst])['’]|(?<=\bqu)['’]|(?<=\b[dns]ell)['’]|(?<=\bun)['’]"  # elided articles
)
MARKS = re.compile(
    r"[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u093c\u09bc\u200c-\u200f]"
)  # accents, vowel points, the nukta, and joiners
LETTER_VARIANTS = str.maketrans(
    {"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ı": "i", "ð": "d", "þ": "th",
     "ى": "ي", "ی": "ي", "ة": "ه", "ک": "ك"}
)  # fmt: skip
UNSPACED_SCRIPTS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
)
KANA = re.compile(r"[\u3040-\u30ff]")

T = TypeVar("T")
Table = Mapping[str, str]


def normalize_word(text: str) -> str:
    """Spell `text` as the vocabulary does: NFKC, casefolded, without punctuation at its ends."""
    return unicodedata.normalize("NFKC", text).casefold().strip(EDGE_PUNCTUATION)


def split_words(text: str, language: str = "") -> list[str]:
    """Split a text into words, as the lexicon spells those of `language`.

    Accents, vowel points and the nukta are removed, for many people leave them out. Single letters
    are dropped.
    """
    folded = normalize_word(text)
    if language not in ACCENTED_LANGUAGES:
        bare = MARKS.sub("", unicodedata.normalize("NFKD", folded).translate(LETTER_VARIANTS))
        folded = unicodedata.normalize("NFC", bare)
    words = WORD_BREAKS.split(folded)
    return [word for word in words if len(word) > 1 or UNSPACED_SCRIPTS.search(word)]


class Reading(NamedTuple):
    """A text read in one language. The larger one is the better one."""

    covered: int  # letters of the words that are known
    pieces: int  # known words, negative: a phrase before its words
    english: str


class TranslationLexicon:
    """Translates words of many languages into English."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        """`tables` are language -> word, as `split_words` spells it -> English.

        A word without a meaning of its own has "", and so has an English one that stays as it is.
        """
        self._tables = {name: table for name, table in tables.items() if name != UNDETERMINED}
        self._undetermined = tables.get(UNDETERMINED, {})

    @staticmethod
    def read(path: Path) -> TranslationLexicon:
        """Read `[language]` and its lines of `word<TAB>English`, compressed with xz."""
        text = lzma.decompress(path.read_bytes()).decode("utf-8")
        tables = {}
        for section in text.split("[")[1:]:
            language, _, lines = section.partition("]\n")
            fields = lines.replace("\n", "\t").split("\t")
            tables[language] = dict(zip(fields[0::2], fields[1::2], strict=False))
        return TranslationLexicon(tables)

    def translate(self, text: str) -> str:
        """Translate the known words of a short text; "" if it is English, long or unknown."""
        translation = self.find_translation(text)
        return translation.english if translation else ""

    def find_translation(self, text: str) -> Translation | None:
        """Translate the known words of a short text, and say which languages it may be in.

        Returns None if it is English, long or unknown.
        """
        words = split_words(text)
        if not 0 < len(words) <= MAX_WORDS:
            return None
        spellings = {name: split_words(text, name) for name in ACCENTED_LANGUAGES}
        first = self._read(words, spellings, self._tables, guess=False)
        most = max(reading.covered for reading in first.values())
        readings = _select_best(first)
        if most < sum(map(len, words)):
            likely = [name for name, reading in first.items() if reading.covered == most]
            readings = _select_best(self._read(words, spellings, likely, guess=True))
        if ENGLISH in readings:
            readings = {ENGLISH: readings[ENGLISH]}
        found = sorted(reading.english for reading in readings.values())
        preferred = self._undetermined.get(" ".join(words))
        english = preferred if preferred in found else max(found, key=found.count, default="")
        languages = tuple(name for name, one in readings.items() if one.english == english)
        if english in PICTURE_WORDS and ENGLISH not in readings:
            english = self._find_english(words, readings) or english
        return Translation(english, languages) if english else None

    def _find_english(self, words: Sequence[str], languages: Iterable[str]) -> str:
        """Return the English words of a text in two languages: "une image de cow"."""
        table = self._tables.get(ENGLISH, {})
        tables = [self._tables[name] for name in languages]
        found = [
            word
            for word in words
            if find_inflected(table, ENGLISH, word) is not None
            and not any(other.get(word) == "" for other in tables)
        ]
        return " ".join(drop_picture_words(found))

    def _read(
        self,
        words: Sequence[str],
        spellings: Mapping[str, Sequence[str]],
        languages: Iterable[str],
        guess: bool,
    ) -> dict[str, Reading]:
        return {
            name: _read_words(self._tables[name], name, spellings.get(name, words), guess)
            for name in languages
        }


def _select_best(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Return the best readings, all as good; only English if it is one; none that knows no word."""
    most = max(reading.covered for reading in readings.values())
    if not most:
        return {}
    if ENGLISH in readings and readings[ENGLISH].covered == most:
        return {ENGLISH: readings[ENGLISH]}
    best = max(reading[:2] for reading in readings.values())
    equal = {name: reading for name, reading in readings.items() if reading[:2] == best}
    return {name: reading for name, reading in equal.items() if reading.english} or equal


def drop_picture_words(words: Sequence[str]) -> list[str]:
    """Leave out the words of `PICTURE_WORDS`, unless there are no others."""
    return [word for word in words if word not in PICTURE_WORDS] or list(words)


def match_longest(
    pieces: Sequence[str], separator: str, max_pieces: int, find: Callable[[str], T | None]
) -> Iterator[T]:
    """Yield what `find` returns for joined pieces, the longest first, from the left."""
    start = 0
    while start < len(pieces):
        for end in range(min(len(pieces), start + max_pieces), start, -1):
            found = find(separator.join(pieces[start:end]))
            if found is not None:
                yield found
                start = end
                break
        else:
            start += 1


def find_inflected(table: Table, language: str, word: str) -> str | None:
    """Return the English of the word that `word` is a form of, or of itself; None if unknown."""
    if word in table:
        return table[word]
    if language == ENGLISH:
        stems = (word.removesuffix(end) + new for end, new in ENGLISH_ENDINGS if word.endswith(end))
        return next(
            (table[stem] for stem in stems if len(stem) >= MIN_STEM and stem in table), None
        )
    for prefix in PREFIXES.get(language, ()):
        noun = word.removeprefix(prefix)
        if noun != word and len(noun) >= MIN_STEM and noun in table:
            return table[noun]
    for cut in range(1, MAX_ENDING + 1):
        stem = word[:-cut]
        if len(stem) < max(MIN_STEM, cut + 1):
            break
        for ending in LEMMA_ENDINGS if len(stem) > cut + 1 else ("",):
            if table.get(stem + ending):
                return table[stem + ending]
    return None


def _read_words(table: Table, language: str, words: Sequence[str], guess: bool) -> Reading:
    find = partial(_find_word, table, language, guess)
    groups = match_longest(words, " ", MAX_ENTRY_WORDS, find)
    found = [piece for group in groups for piece in group]
    covered = sum(len(word.replace(" ", "")) for word, _ in found)
    if language == ENGLISH and any(english for _, english in found):
        return Reading(covered, -len(found), " ".join(english or word for word, english in found))
    meanings = drop_picture_words([english for _, english in found if english])
    return Reading(covered, -len(found), " ".join(meanings))


def _find_word(table: Table, language: str, guess: bool, word: str) -> list[tuple[str, str]] | None:
    """Return the known parts of `word` with their English; None if nothing is known."""
    if word in table:
        return [(word, table[word])]
    if " " in word:
        return None
    if UNSPACED_SCRIPTS.search(word):
        find = partial(_find_piece, table)
        pieces = list(match_longest(word, "", MAX_ENTRY_CHARACTERS, find))
        covered = sum(len(piece) for piece, _ in pieces)
        by_chance = 2 * covered <= len(word) and all(KANA.match(piece) for piece, _ in pieces)
        return None if by_chance else pieces  # two kana in a row are easily a word
    if not guess:
        return None
    english = find_inflected(table, language, word)
    if english is not None:
        return [(word, english)]
    return _split_compound(table, language, word) if language in COMPOUNDING_LANGUAGES else None


def _find_piece(table: Table, word: str) -> tuple[str, str] | None:
    """Return a word that has a meaning of its own: Han, or not short."""
    min_length = 1 if word >= "\u3400" else 2 if word >= "\u3040" else 3
    return (word, table[word]) if len(word) >= min_length and word in table else None


def _split_compound(table: Table, language: str, word: str) -> list[tuple[str, str]] | None:
    """Return the two parts of a compound noun with their English: Spielzeug-auto."""
    for middle in range(MIN_COMPOUND_PART, len(word) - MIN_COMPOUND_PART + 1):
        first, last = word[:middle], word[middle:]
        head = find_inflected(table, language, last)
        for link in COMPOUND_LINKS if head else ():
            modifier = table.get(first.removesuffix(link)) if first.endswith(link) else None
            if head and modifier:
                return [(first, modifier), (last, head)]
    return None
