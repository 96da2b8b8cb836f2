"""Features of texts for training: the text tower, the lexicon, and the vocabulary of nouns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embedder.families.starter.text_tower import (
    HEAD_NOUN_WEIGHT,
    NounEmbeddings,
    TextFeatures,
    embed_nouns,
)
from embedder.families.starter.translation import TranslationLexicon
from embedder.types import normalize
from recipes.starter.lexicon import Lexicon, write_lexicon
from recipes.starter.teacher import MeaningSpace
from recipes.starter.tower_features import TextEmbeddingCache
from recipes.starter.wordnet import MAX_NOUN_WORDS

Array = NDArray[np.float32]
COMPOSITIONAL_COSINE = 0.8  # cosine from which a pair of nouns means the same as its parts


class TextFeaturizer:
    """The `TextTower` of the starter before it is written; caches its embeddings on disk."""

    def __init__(
        self,
        lexicon: Lexicon,
        meaning_space: MeaningSpace,
        texts: TextEmbeddingCache,
        center_texts: Sequence[str],
    ) -> None:
        """The mean of `center_texts` is subtracted from each text."""
        self._tables, self._texts = lexicon, texts
        self._lexicon = TranslationLexicon(lexicon)
        self._words, rows = _build_vocabulary(meaning_space)
        self._codes, self._scales = quantize_4bit(rows)
        self._vocabulary = NounEmbeddings(self._words, self._codes, self._scales)
        self.mean = texts.embed(center_texts).mean(0)

    def featurize(self, texts: Sequence[str], *, use_tables: bool = True) -> TextFeatures:
        """`use_tables`: of the lexicon and the vocabulary."""
        english = [self._lexicon.translate(text) if use_tables else "" for text in texts]
        known = [i for i, word in enumerate(english) if word]
        translated = np.zeros((len(texts), 384), np.float32)
        if known:
            translated[known] = self.embed([english[i] for i in known])
        plain = [word or text for word, text in zip(english, texts, strict=True)]
        nouns = embed_nouns(
            self._vocabulary,
            plain if use_tables else [""] * len(plain),
            list(map(bool, english)),
        )
        return TextFeatures(self.embed(texts), translated, nouns)

    def noun_meanings(self, english: Sequence[str]) -> Array:
        """(n, 384): what the nouns of each text mean; zeros where it has none."""
        return embed_nouns(self._vocabulary, english, [False] * len(english))

    def embed(self, texts: Sequence[str]) -> Array:
        return normalize(self._texts.embed(texts) - self.mean)

    def write_tables(self, lexicon: Path, vocabulary: Path) -> None:
        """Both lists, as the embedder reads them."""
        write_lexicon(self._tables, lexicon)
        words = np.frombuffer("\n".join(self._words).encode("utf-8"), np.uint8)
        scales = self._scales.astype(np.float16)
        save_file({"words": words, "codes": self._codes, "scales": scales}, vocabulary)


def _build_vocabulary(meaning_space: MeaningSpace) -> tuple[list[str], Array]:
    """The nouns and their rows, without pairs that mean the same as their parts."""
    rows_by_word = {word: place for place, word in enumerate(meaning_space.words)}
    kept = []
    for word, place in rows_by_word.items():
        parts = [rows_by_word[part] for part in word.split() if part in rows_by_word]
        if len(parts) == MAX_NOUN_WORDS:
            together = normalize(
                meaning_space.rows[parts[0]] + HEAD_NOUN_WEIGHT * meaning_space.rows[parts[1]]
            )
            if float(meaning_space.rows[place] @ together) > COMPOSITIONAL_COSINE:
                continue
        kept.append(place)
    return [meaning_space.words[place] for place in kept], meaning_space.rows[kept]


def quantize_4bit(rows: Array) -> tuple[NDArray[np.uint8], Array]:
    """Quantize (n, 384) rows to codes (n, 192) and scales (n,), as `NounEmbeddings` reads them."""
    scales = np.abs(rows).max(axis=1) / 7.5
    steps = np.clip(np.round(rows / scales[:, None] + 7.5), 0, 15).astype(np.uint8)
    return steps[:, 0::2] | steps[:, 1::2] << 4, scales
