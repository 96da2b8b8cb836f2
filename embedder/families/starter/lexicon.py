"""What the starter knows by heart: words of many languages in English, and English nouns' meanings.

Its text tower knows sentences and is weak on single words, which is what people type. Both lists
are made by the head's recipe; docs/starter.md tells from what.
"""

from __future__ import annotations

import lzma
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_WORDS = 6  # of a text that is looked up; a sentence explains itself
MAX_ENTRY_CHARACTERS = 8  # characters of an entry in a script without spaces
HEAD_NOUN_WEIGHT = 1.5  # what the last noun of a text counts: a fire truck is a truck
EDGE_PUNCTUATION = " .!?:;\"'“”„«»()[]。、，！？…"
UNSPACED_SCRIPTS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
)
PLURAL_SUFFIXES = (("", ""), ("s", ""), ("es", ""), ("ies", "y"))

Array = NDArray[np.float32]


def normalize_word(text: str) -> str:
    """`text` as both lists spell it: NFKC, no case, no punctuation at its edges."""
    return unicodedata.normalize("NFKC", text).casefold().strip(EDGE_PUNCTUATION)


class TranslationLexicon:
    """Words of many languages -> the English for them."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = entries

    @staticmethod
    def read(path: Path) -> TranslationLexicon:
        """Lines of `word<TAB>English`, compressed with xz."""
        lines = lzma.decompress(path.read_bytes()).decode("utf-8").splitlines()
        return TranslationLexicon(dict(line.split("\t") for line in lines))

    def translate(self, text: str) -> str:
        """The English of what is known in `text`; empty where nothing is, or it is long."""
        folded = normalize_word(text)
        if folded in self._entries:
            return self._entries[folded]
        if " " in folded:
            words = folded.split()
            return " ".join(self._match_entries(words, " ", 3)) if len(words) <= MAX_WORDS else ""
        if UNSPACED_SCRIPTS.search(folded) and len(folded) <= 2 * MAX_ENTRY_CHARACTERS:
            return " ".join(self._match_entries(list(folded), "", MAX_ENTRY_CHARACTERS))
        return ""

    def _match_entries(
        self, pieces: Sequence[str], separator: str, max_pieces: int
    ) -> Iterator[str]:
        """Longest match first, from the left."""
        start = 0
        while start < len(pieces):
            for end in range(min(len(pieces), start + max_pieces), start, -1):
                word = separator.join(pieces[start:end])
                if word in self._entries and _is_meaningful(word, separator):
                    yield self._entries[word]
                    start = end
                    break
            else:
                start += 1


def _is_meaningful(word: str, separator: str) -> bool:
    """Whether a part of a text means something: a short kana inside a word or an article do not."""
    if word >= "\u3400":  # Han
        return True
    return len(word) > (1 if separator and word >= "\u3040" else 2)


class NounEmbeddings:
    """English nouns of one or two words -> (384,) each, kept in four bits a number."""

    def __init__(self, words: Sequence[str], codes: NDArray[np.uint8], scales: Array) -> None:
        """`codes` (n, 192): two numbers a byte; `scales` (n,): what a step of a row is worth."""
        self._row_by_word = {word: place for place, word in enumerate(words)}
        self._codes, self._scales = codes, scales

    @staticmethod
    def read(path: Path) -> NounEmbeddings:
        from safetensors.numpy import load_file

        parts = load_file(path)
        words = bytes(parts["words"]).decode("utf-8").split("\n")
        return NounEmbeddings(words, parts["codes"], parts["scales"].astype(np.float32))

    def embed(self, text: str) -> Array | None:
        """(384,): what the nouns of a short English text mean together; None where it has none."""
        words = normalize_word(text).split()
        rows_found = list(self._find_nouns(words)) if len(words) <= MAX_WORDS else []
        if not rows_found:
            return None
        rows = self._dequantize(rows_found)
        rows[-1] *= HEAD_NOUN_WEIGHT
        return np.asarray(rows.sum(0) / np.linalg.norm(rows.sum(0)), np.float32)

    def _find_nouns(self, words: Sequence[str]) -> Iterator[int]:
        """The places of the nouns in `words`, a pair before its parts."""
        start = 0
        while start < len(words):
            for length in (2, 1):
                row = self._find_row(" ".join(words[start : start + length]))
                if row is not None and start + length <= len(words):
                    yield row
                    start += length
                    break
            else:
                start += 1

    def _find_row(self, word: str) -> int | None:
        """`word`, or what it is the plural of; what is shorter than a noun is none."""
        for suffix, replacement in PLURAL_SUFFIXES:
            singular = word.removesuffix(suffix) + replacement
            if word.endswith(suffix) and len(singular) > 2 and singular in self._row_by_word:
                return self._row_by_word[singular]
        return None

    def _dequantize(self, indices: Sequence[int]) -> Array:
        codes = self._codes[list(indices)]  # (n, 192)
        rows = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(indices), -1)  # (n, 384)
        return np.asarray((rows - 7.5) * self._scales[list(indices), None], np.float32)


def quantize_4bit(rows: Array) -> tuple[NDArray[np.uint8], Array]:
    """(n, 384) -> codes (n, 192) and scales (n,), as `Vocabulary` reads them."""
    scales = np.abs(rows).max(axis=1) / 7.5
    steps = np.clip(np.round(rows / scales[:, None] + 7.5), 0, 15).astype(np.uint8)
    return steps[:, 0::2] | steps[:, 1::2] << 4, scales
