"""The starter's ears in the making: the text tower, the lexicon, and the vocabulary of nouns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embedder.starter_text import Heard, meanings
from embedder.starter_words import HEAD, Lexicon, Vocabulary, in_four_bits
from embedder.vectors import unit
from finetune.starter.features import Texts
from finetune.starter.lexicon import write_lexicon
from finetune.starter.teacher import Meanings
from finetune.starter.wordnet import MOST_WORDS

Array = NDArray[np.float32]
PLAIN = 0.8  # cosine from which a pair of nouns means what its parts mean


class Ears:
    """`embedder.starter_text.TextTower` in the making: the tower's rows are kept on disk."""

    def __init__(
        self, entries: Mapping[str, str], known: Meanings, texts: Texts, centred_on: Sequence[str]
    ) -> None:
        """`entries` are the lexicon's; the mean of the texts `centred_on` is taken from each."""
        self._entries, self._texts = entries, texts
        self._lexicon = Lexicon(entries)
        self._words, rows = _vocabulary(known)
        self._codes, self._scales = in_four_bits(rows)
        self._vocabulary = Vocabulary(self._words, self._codes, self._scales)
        self.mean = texts.rows(centred_on).mean(0)

    def hear(self, asked: Sequence[str], *, helped: bool = True) -> Heard:
        """`helped`: by the lexicon and the vocabulary."""
        english = [self._lexicon.english(text) if helped else "" for text in asked]
        known = [i for i, word in enumerate(english) if word]
        translated = np.zeros((len(asked), 384), np.float32)
        if known:
            translated[known] = self.rows([english[i] for i in known])
        plain = [word or text for word, text in zip(english, asked, strict=True)]
        meant = self.nouns(plain if helped else [""] * len(plain))
        return Heard(self.rows(asked), translated, meant)

    def nouns(self, english: Sequence[str]) -> Array:
        """(n, 384): what the nouns of each text mean; zeros where it has none."""
        return meanings(self._vocabulary, english)

    def rows(self, texts: Sequence[str]) -> Array:
        return unit(self._texts.rows(texts) - self.mean)

    def write(self, lexicon: Path, vocabulary: Path) -> None:
        """Both lists, as the embedder reads them."""
        write_lexicon(self._entries, lexicon)
        words = np.frombuffer("\n".join(self._words).encode("utf-8"), np.uint8)
        scales = self._scales.astype(np.float16)
        save_file({"words": words, "codes": self._codes, "scales": scales}, vocabulary)


def _vocabulary(known: Meanings) -> tuple[list[str], Array]:
    """The nouns and their rows, without the pairs that mean what their parts mean together."""
    places = {word: place for place, word in enumerate(known.words)}
    kept = []
    for word, place in places.items():
        parts = [places[part] for part in word.split() if part in places]
        if len(parts) == MOST_WORDS:
            together = unit(known.rows[parts[0]] + HEAD * known.rows[parts[1]])
            if float(known.rows[place] @ together) > PLAIN:
                continue
        kept.append(place)
    return [known.words[place] for place in kept], known.rows[kept]
