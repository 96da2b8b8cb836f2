"""The lexicon: words of 31 languages -> English, from the emoji they are keywords of.

Two words for the same emoji mean the same: of the English words for a word's emoji, the one whose
emoji overlap most (Jaccard) is its translation. GCompris' word lists add more pairs.
"""

from __future__ import annotations

import lzma
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from embedder.families.starter.text_tower import normalize_word
from recipes.starter.annotations import Annotations, is_flag

MIN_OVERLAP = 0.34  # of emoji, from which two words mean the same
NAME_WEIGHT = 1.6  # weight of a word that is the name of an emoji, not a keyword
EXTRA_WORD_PENALTY = 0.8  # penalty of each further word: a dog before a service dog
OWN_NAME_WEIGHT = 0.6  # weight of an emoji's own name where nothing overlaps well
WORD_LIST_WEIGHT = 2.0  # weight of a pair of a word list
MAX_WORDS = 4  # words of an entry
KATAKANA_TO_HIRAGANA = {letter: letter - 0x60 for letter in range(0x30A1, 0x30F7)} | {
    ord("ー"): ord("ー")
}

Emojis = Mapping[str, set[str]]


def build_lexicon(
    annotations: Mapping[str, Annotations],
    words: Mapping[str, Mapping[str, list[str]]],
    english_words: set[str],
) -> dict[str, str]:
    """Word -> English. A word that is also an English one is left out: it would be misread."""
    votes: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    pairs = [*_emoji_pairs(annotations), *_word_list_pairs(words)]
    for word, english, weight in pairs:
        votes[word][english] += weight
    entries = {
        word: max(count, key=lambda english: count[english])
        for word, count in sorted(votes.items())
        if word not in english_words and len(word.split()) <= MAX_WORDS
    }
    return {**_add_hiragana(entries), **entries}


def _add_hiragana(entries: Mapping[str, str]) -> dict[str, str]:
    """Katakana words also in hiragana: ゾウ, ぞう."""
    return {
        word.translate(KATAKANA_TO_HIRAGANA): english
        for word, english in entries.items()
        if all(ord(letter) in KATAKANA_TO_HIRAGANA for letter in word)
    }


def write_lexicon(lexicon: Mapping[str, str], path: Path) -> None:
    lines = "".join(f"{word}\t{english}\n" for word, english in sorted(lexicon.items()))
    path.write_bytes(lzma.compress(lines.encode("utf-8"), preset=9))


def read_english_words(wordnet: Path, annotations: Annotations) -> set[str]:
    """WordNet's lemmas and the English emoji words."""
    found = {word for annotation in annotations.values() for word in annotation.words}
    for part in ("noun", "verb", "adj", "adv"):
        index = wordnet / f"usr/share/wordnet/index.{part}"
        for line in index.read_text("latin-1").splitlines():
            if not line.startswith(" "):
                found.add(line.split(" ", 1)[0].replace("_", " "))
    return found


def _emoji_pairs(annotations: Mapping[str, Annotations]) -> Iterator[tuple[str, str, float]]:
    english = annotations["en"]
    stands_at = _emoji_by_word(english)
    for language, known in annotations.items():
        if language == "en":
            continue
        names = {a.name: english[e].name for e, a in known.items() if e in english}
        for word, emoji in _emoji_by_word(known).items():
            best, overlap = _best_translation(emoji & english.keys(), english, stands_at)
            if word in names and overlap < 0.5:
                best, overlap = names[word], OWN_NAME_WEIGHT
            if overlap >= MIN_OVERLAP and best != word:
                yield word, best, overlap * len(emoji) ** 0.5  # what stands at many is well known


def _best_translation(
    emoji: set[str], english: Annotations, stands_at: Emojis
) -> tuple[str, float]:
    """The English word whose emoji overlap most with `emoji`; names count more than keywords."""
    called = {english[e].name for e in emoji}
    candidates = {word for e in emoji for word in english[e].words}
    scored = [
        (
            _overlap(emoji, stands_at[w])
            * (NAME_WEIGHT if w in called else 1.0)
            * EXTRA_WORD_PENALTY ** w.count(" "),
            w,
        )
        for w in candidates
        if w in stands_at
    ]
    overlap, word = max(scored, default=(0.0, ""))
    return word, overlap


def _overlap(some: set[str], others: set[str]) -> float:
    return len(some & others) / len(some | others)


def _emoji_by_word(annotations: Annotations) -> Emojis:
    found: dict[str, set[str]] = defaultdict(set)
    for emoji, annotation in annotations.items():
        if not is_flag(emoji):
            for word in annotation.words:
                if word:
                    found[word].add(emoji)
    return found


def _word_list_pairs(
    words: Mapping[str, Mapping[str, list[str]]],
) -> Iterator[tuple[str, str, float]]:
    english = words["en"]
    for language, known in words.items():
        if language == "en":
            continue
        for key, translations in known.items():
            meaning = (english.get(key) or [normalize_word(re.sub("_", " ", key))])[0]
            for word in translations:
                if word and word != meaning:
                    yield word, meaning, WORD_LIST_WEIGHT
