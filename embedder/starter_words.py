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

MOST_WORDS = 6  # of a text that is looked up; a sentence explains itself
LONGEST = 8  # characters of an entry in a script without spaces
HEAD = 1.5  # what the last noun of a text counts: a fire truck is a truck
EDGES = " .!?:;\"'“”„«»()[]。、，！？…"
SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
PLURALS = (("", ""), ("s", ""), ("es", ""), ("ies", "y"))

Array = NDArray[np.float32]


def fold(text: str) -> str:
    """`text` as both lists spell it: NFKC, no case, no punctuation at its edges."""
    return unicodedata.normalize("NFKC", text).casefold().strip(EDGES)


class Lexicon:
    """Words of many languages -> the English for them."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = entries

    @staticmethod
    def read(path: Path) -> Lexicon:
        """Lines of `word<TAB>English`, compressed with xz."""
        lines = lzma.decompress(path.read_bytes()).decode("utf-8").splitlines()
        return Lexicon(dict(line.split("\t") for line in lines))

    def english(self, text: str) -> str:
        """The English of what is known in `text`; empty where nothing is, or it is long."""
        folded = fold(text)
        if folded in self._entries:
            return self._entries[folded]
        if " " in folded:
            words = folded.split()
            return " ".join(self._known(words, " ", 3)) if len(words) <= MOST_WORDS else ""
        if SPACELESS.search(folded) and len(folded) <= 2 * LONGEST:
            return " ".join(self._known(list(folded), "", LONGEST))
        return ""

    def _known(self, pieces: Sequence[str], glue: str, longest: int) -> Iterator[str]:
        """Longest match first, from the left."""
        start = 0
        while start < len(pieces):
            for end in range(min(len(pieces), start + longest), start, -1):
                word = glue.join(pieces[start:end])
                if word in self._entries and _tells(word, glue):
                    yield self._entries[word]
                    start = end
                    break
            else:
                start += 1


def _tells(word: str, glue: str) -> bool:
    """Whether a part of a text means something: a short kana inside a word or an article do not."""
    if word >= "\u3400":  # Han
        return True
    return len(word) > (1 if glue and word >= "\u3040" else 2)


class Vocabulary:
    """English nouns of one or two words -> (384,) each, kept in four bits a number."""

    def __init__(self, words: Sequence[str], codes: NDArray[np.uint8], scales: Array) -> None:
        """`codes` (n, 192): two numbers a byte; `scales` (n,): what a step of a row is worth."""
        self._places = {word: place for place, word in enumerate(words)}
        self._codes, self._scales = codes, scales

    @staticmethod
    def read(path: Path) -> Vocabulary:
        from safetensors.numpy import load_file

        parts = load_file(path)
        words = bytes(parts["words"]).decode("utf-8").split("\n")
        return Vocabulary(words, parts["codes"], parts["scales"].astype(np.float32))

    def meaning(self, text: str) -> Array | None:
        """(384,): what the nouns of a short English text mean together; None where it has none."""
        words = fold(text).split()
        places = list(self._nouns(words)) if len(words) <= MOST_WORDS else []
        if not places:
            return None
        rows = self._rows(places)
        rows[-1] *= HEAD
        return np.asarray(rows.sum(0) / np.linalg.norm(rows.sum(0)), np.float32)

    def _nouns(self, words: Sequence[str]) -> Iterator[int]:
        """The places of the nouns in `words`, a pair before its parts."""
        start = 0
        while start < len(words):
            for length in (2, 1):
                place = self._place(" ".join(words[start : start + length]))
                if place is not None and start + length <= len(words):
                    yield place
                    start += length
                    break
            else:
                start += 1

    def _place(self, word: str) -> int | None:
        """`word`, or what it is the plural of; what is shorter than a noun is none."""
        for ending, instead in PLURALS:
            singular = word.removesuffix(ending) + instead
            if word.endswith(ending) and len(singular) > 2 and singular in self._places:
                return self._places[singular]
        return None

    def _rows(self, places: Sequence[int]) -> Array:
        codes = self._codes[list(places)]  # (n, 192)
        rows = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(places), -1)  # (n, 384)
        return np.asarray((rows - 7.5) * self._scales[list(places), None], np.float32)


def in_four_bits(rows: Array) -> tuple[NDArray[np.uint8], Array]:
    """(n, 384) -> codes (n, 192) and scales (n,), as `Vocabulary` reads them."""
    scales = np.abs(rows).max(axis=1) / 7.5
    steps = np.clip(np.round(rows / scales[:, None] + 7.5), 0, 15).astype(np.uint8)
    return steps[:, 0::2] | steps[:, 1::2] << 4, scales
