"""Japanese words: how they are read, and what loanwords come from, from UniDic (BSD License).

The dictionary is MeCab's binary; each word's features are in it as text: part of speech, reading,
lemma (テーブル-table for a loanword) and spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from recipes.starter.lexicon import LOANWORD_WEIGHT, READING_WEIGHT, Pair, to_hiragana

DICTIONARY = "unidic-lite-1.0.8/unidic_lite/dicdir/sys.dic"
NOUN = re.compile("名詞,普通名詞,(?:[^,\0]*,){4}([^,\0]*),([^,\0]*),([^,\0]*),".encode())
HAN = re.compile(r"[\u3400-\u9fff々]")
MAX_CHARACTERS = 8  # of a word that is looked up


class JapaneseWords:
    """UniDic's common nouns."""

    def __init__(self, readings: dict[str, str], loanwords: dict[str, str]) -> None:
        """`readings`: spelling -> hiragana; `loanwords`: katakana -> the foreign word."""
        self._readings, self._loanwords = readings, loanwords

    @staticmethod
    def read(package: Path) -> JapaneseWords:
        readings: dict[str, str] = {}
        loanwords: dict[str, str] = {}
        for match in NOUN.finditer((package / DICTIONARY).read_bytes()):
            reading, lemma, spelling = (part.decode("utf-8", "replace") for part in match.groups())
            readings.setdefault(spelling, to_hiragana(reading))
            word, _, origin = lemma.partition("-")
            if origin.isascii() and origin:
                loanwords.setdefault(word, origin.lower())
        return JapaneseWords(readings, loanwords)

    def loanword_pairs(self, nouns: set[str]) -> Iterator[Pair]:
        """The loanwords that come from an English noun for something visible."""
        for word, origin in self._loanwords.items():
            if origin in nouns:
                yield Pair("ja", word, origin, LOANWORD_WEIGHT)

    def add_readings(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """The pairs, and those of Japanese words in kanji also as they are read."""
        for pair in pairs:
            yield pair
            if pair.language == "ja" and HAN.search(pair.word):
                reading = self.transcribe(pair.word)
                if reading and len(reading) > 1:
                    yield pair._replace(word=reading, weight=READING_WEIGHT * pair.weight)

    def transcribe(self, word: str) -> str | None:
        """消防車 -> しょうぼうしゃ, the longest words first; None if one is unknown."""
        out, start = "", 0
        while start < len(word):
            for end in range(min(len(word), start + MAX_CHARACTERS), start, -1):
                piece = word[start:end]
                if HAN.search(piece) and piece in self._readings:
                    out, start = out + self._readings[piece], end
                    break
            else:
                if HAN.match(word[start]):
                    return None
                out, start = out + to_hiragana(word[start]), start + 1
        return out
