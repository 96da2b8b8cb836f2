"""The lexicon: words of 31 languages -> English, from things that have names in all of them.

Two words for the same emoji, or the same feature of a map, mean the same: of the English words for
a word's things, the one whose things overlap most (Jaccard) is its translation; a name translates
a name. GCompris' word lists and UniDic's loanwords add more pairs.
"""

from __future__ import annotations

import lzma
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from embedder.families.starter.translation import (
    ENGLISH,
    UNDETERMINED,
    find_inflected,
    normalize_word,
    split_words,
)
from recipes.starter.annotations import ZODIAC, Annotations, is_flag
from recipes.starter.wordnet import WordNet

MIN_OVERLAP = 0.34  # of things, from which two words mean the same
MIN_MAP_OVERLAP = 1.2  # of map features, whose keywords are vague
NAME_WEIGHT = 1.6  # weight of a word that is the name of a thing, not a keyword
VISIBLE_WEIGHT = 1.5  # weight of a noun for something visible
EXTRA_WORD_PENALTY = 0.8  # penalty of each further word: a dog before a service dog
OWN_NAME_WEIGHT = 0.6  # weight of a thing's own name where nothing overlaps well
MAP_WEIGHT = 0.5  # weight of a pair that a map's features give
WORD_LIST_WEIGHT = 2.0  # weight of a pair of a word list
LOANWORD_WEIGHT = 0.6  # weight of a loanword and the word that it comes from
READING_WEIGHT = 0.5  # weight of a word in kana, as a share of the word's in kanji
MAX_WORDS = 4  # words of an entry
KATAKANA_TO_HIRAGANA = {letter: letter - 0x60 for letter in range(0x30A1, 0x30F7)} | {
    ord("ー"): ord("ー")
}

Things = Mapping[str, set[str]]
Lexicon = Mapping[str, Mapping[str, str]]
"""Language -> word, as `split_words` spells it -> English."""


class Pair(NamedTuple):
    """A word of a language, what it means in English, and how sure that is."""

    language: str
    word: str
    english: str
    weight: float


def build_lexicon(
    trusted: Iterable[Pair],
    vague: Iterable[Pair],
    stop_words: Mapping[str, set[str]],
    english: Mapping[str, str],
    nouns: set[str],
) -> dict[str, dict[str, str]]:
    """Language -> its words -> English.

    Args:
        trusted: Pairs that decide.
        vague: Pairs of which a word is taken that is no form of a word known before.
        stop_words: Language -> words without a meaning of their own, as far as no noun is known.
        english: English words -> "", or the singular of an irregular plural.
        nouns: English nouns for visible things.
    """
    votes = _count_votes(trusted)
    tables = {language: _choose(words) for language, words in votes.items()}
    for language, words in _count_votes(vague).items():
        known = tables.setdefault(language, {})
        taken = {w: c for w, c in words.items() if find_inflected(known, language, w) is None}
        for word, count in taken.items():
            votes[language][word].update(count)
        tables[language] = known | _choose({word: votes[language][word] for word in taken})
    undetermined: dict[str, Counter[str]] = defaultdict(Counter)
    for language, table in tables.items():
        for word in stop_words.get(language, ()):
            for key in split_words(word, language):
                if table.get(key) not in nouns:
                    table[key] = ""
        for word, meaning in table.items():
            if meaning:
                undetermined[word][meaning] += votes[language][word][meaning]
    several = {word: count for word, count in undetermined.items() if len(count) > 1}
    return {**tables, ENGLISH: dict(english), UNDETERMINED: _choose(several)}


def emoji_pairs(annotations: Mapping[str, Annotations], nouns: set[str]) -> Iterator[Pair]:
    """The words at the same emoji; flags and signs of the zodiac are left out."""
    kept = {
        language: {e: a for e, a in known.items() if not is_flag(e) and e not in ZODIAC}
        for language, known in annotations.items()
    }
    return _pair_words(kept, nouns)


def map_pairs(presets: Mapping[str, Annotations], nouns: set[str]) -> Iterator[Pair]:
    """The words at the same feature of a map, where they overlap well."""
    for pair in _pair_words(presets, nouns):
        if pair.weight >= MIN_MAP_OVERLAP:
            yield pair._replace(weight=MAP_WEIGHT * pair.weight)


def word_list_pairs(words: Mapping[str, Mapping[str, list[str]]]) -> Iterator[Pair]:
    """The words at the same key of GCompris' lists."""
    english = words[ENGLISH]
    for language, known in words.items():
        for key, translations in known.items():
            meaning = (english.get(key) or [normalize_word(re.sub("_", " ", key))])[0]
            for word in translations if language != ENGLISH else ():
                yield Pair(language, word, meaning, WORD_LIST_WEIGHT)


def to_hiragana(word: str) -> str:
    """ゾウ -> ぞう"""
    return word.translate(KATAKANA_TO_HIRAGANA)


def read_english_words(
    wordnet: Path, annotations: Annotations, nouns: set[str], stop_words: set[str]
) -> dict[str, str]:
    """English words -> "", or the singular of an irregular plural: emoji's, and WordNet's of use.

    Names and words that its corpus does not have are left out, unless they are `nouns`.
    """
    lemmas = WordNet.read_common_lemmas(wordnet)
    words = {word for annotation in annotations.values() for word in annotation.words}
    found = {key: "" for word in words | lemmas | nouns | stop_words for key in _single(word)}
    singulars = WordNet.read_irregular_plurals(wordnet).items()
    return found | {p: s for p, s in singulars if s in nouns and p not in nouns}


def write_lexicon(lexicon: Lexicon, path: Path) -> None:
    sections = (
        f"[{language}]\n"
        + "".join(f"{word}\t{english}\n" for word, english in sorted(words.items()))
        for language, words in sorted(lexicon.items())
    )
    path.write_bytes(lzma.compress("".join(sections).encode("utf-8"), preset=9))


def _single(word: str) -> list[str]:
    """The word as the lexicon spells it, if it is one word."""
    words = split_words(word)
    return words if len(words) == 1 else []


def _count_votes(pairs: Iterable[Pair]) -> dict[str, dict[str, Counter[str]]]:
    votes: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for language, word, english, weight in pairs:
        words = split_words(word, language)
        if 0 < len(words) <= MAX_WORDS and not re.search(r"[\[\]\t]", word + english):
            key = " ".join(words)
            votes[language][key][english] += weight  # type: ignore[assignment]
            if to_hiragana(key) != key:
                votes[language][to_hiragana(key)][english] += READING_WEIGHT * weight  # type: ignore[assignment]
    return votes


def _choose(votes: Mapping[str, Counter[str]]) -> dict[str, str]:
    """The translation of each word that has the most votes."""
    return {word: max(count, key=lambda e: (count[e], e)) for word, count in votes.items()}


def _pair_words(annotations: Mapping[str, Annotations], nouns: set[str]) -> Iterator[Pair]:
    english = annotations[ENGLISH]
    stands_at = _things_by_word(english)
    for language, known in annotations.items():
        if language == ENGLISH:
            continue
        names = {a.name: english[thing].name for thing, a in known.items() if thing in english}
        for word, things in _things_by_word(known).items():
            share = len(things) ** 0.5  # what stands at many is well known
            if word in names:
                yield Pair(language, word, _shorten(names[word], nouns), NAME_WEIGHT * share)
                continue
            best, overlap = _best_translation(things & english.keys(), english, stands_at, nouns)
            if overlap >= MIN_OVERLAP and best != word:
                yield Pair(language, word, _shorten(best, nouns), overlap * share)


def _shorten(name: str, nouns: set[str]) -> str:
    """`dog face` -> `dog`"""
    animal = name.removesuffix(" face")
    return animal if animal in nouns else name


def _best_translation(
    things: set[str], english: Annotations, stands_at: Things, nouns: set[str]
) -> tuple[str, float]:
    """The English word whose things overlap most with `things`, and how much.

    Names count more than keywords, and nouns for visible things more than other words.
    """
    called = {english[thing].name for thing in things}
    candidates = {word for thing in things for word in english[thing].words if word in stands_at}

    def overlap(word: str) -> float:
        shared = len(things & stands_at[word]) / len(things | stands_at[word])
        weight = NAME_WEIGHT if word in called else 1.0
        return shared * weight * EXTRA_WORD_PENALTY ** word.count(" ")

    if not candidates:
        return "", 0.0
    best = max(candidates, key=lambda w: (overlap(w) * (VISIBLE_WEIGHT if w in nouns else 1.0), w))
    return best, overlap(best)


def _things_by_word(annotations: Annotations) -> Things:
    found: dict[str, set[str]] = defaultdict(set)
    for thing, annotation in annotations.items():
        for word in annotation.words:
            if word:
                found[word].add(thing)
    return found
