"""The lexicon: words of 31 languages -> English, from things that have names in all of them.

Two words for the same emoji, or the same feature of a map, mean the same: of the English words for
a word's things, the one whose things overlap most (Jaccard) is its translation; a name translates
a name. GCompris' word lists and UniDic's loanwords add more pairs.
"""

from __future__ import annotations

import lzma
import math
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from embedder.families.starter.translation import (
    ACCENTED_LANGUAGES,
    ENGLISH,
    UNDETERMINED,
    UNSPACED_SCRIPTS,
    find_inflected,
    normalize_word,
    split_words,
)
from recipes.starter.annotations import ZODIAC, Annotation, Annotations, is_flag
from recipes.starter.wordnet import WordNet

MIN_OVERLAP = 0.34  # of things, from which two words mean the same
MIN_MAP_OVERLAP = 1.2  # of map features, whose keywords are vague
NAME_WEIGHT = 1.6  # weight of a word that is the name of a thing, not a keyword
VISIBLE_WEIGHT = 1.5  # weight of a noun for something visible
PHRASE_WEIGHT = 0.5  # weight of several words that are not a noun together: red apple
EXTRA_WORD_PENALTY = 0.8  # penalty of each further word: a dog before a service dog
OWN_NAME_WEIGHT = 0.6  # weight of a thing's own name where nothing overlaps well
MAP_WEIGHT = 0.5  # weight of a pair that a map's features give
WORD_LIST_WEIGHT = 2.0  # weight of a pair of a word list
LOANWORD_WEIGHT = 0.6  # weight of a loanword and the word that it comes from
READING_WEIGHT = 0.5  # weight of a word in kana, as a share of the word's in kanji
COMMON_WEIGHT = 0.15  # weight of a word's frequency in WordNet's annotated texts, per decade
CLOSENESS_WEIGHT = 4.0  # weight of the cosine of a word and its translation
MEAN_COSINE = 0.6
MIN_LETTERS = 3  # of a noun that is spelled like a function word
RARE_COUNT = 2  # in WordNet's annotated texts
SURE_WEIGHT = 1.6  # weight of a pair from which its word is a word of the language
MAX_CANDIDATES = 6  # translations of a keyword among which the votes decide
MAX_WORDS = 4  # words of an entry
FIRST_PICTOGRAM = 0x2600  # below are signs: arrows, quotation marks
PICTOGRAMS_BELOW = frozenset("⌚⌛⌨⏰⏱⏲⏳")
SYMBOL_NAMES = (" button", " mark", " symbol", " arrow", " sign", "o’clock", "-thirty", " square")
KATAKANA_TO_HIRAGANA = {letter: letter - 0x60 for letter in range(0x30A1, 0x30F7)} | {
    ord("ー"): ord("ー")
}

Things = Mapping[str, set[str]]
Lexicon = Mapping[str, Mapping[str, str]]
"""Language -> word, as `split_words` spells it -> English."""


@dataclass(frozen=True, slots=True)
class EnglishNouns:
    """What is known of English words, to choose among translations.

    `visible` are nouns for things that can be seen; `counts` says how often WordNet's annotated
    texts have a word, of any part of speech.
    """

    visible: Container[str]
    counts: Mapping[str, int]

    def weigh(self, word: str) -> float:
        """The common words first: a car before a pickup truck."""
        return 1 + COMMON_WEIGHT * math.log10(1 + self.counts.get(word, 0))

    def is_rare(self, word: str) -> bool:
        """Whether an English word is rarer than its look-alikes of other languages."""
        return self.counts.get(word, 0) <= RARE_COUNT


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
    nouns: EnglishNouns,
    closeness: Mapping[tuple[str, str, str], float] | None = None,
) -> dict[str, dict[str, str]]:
    """Language -> its words -> English.

    Args:
        trusted: Pairs that decide.
        vague: Pairs of which a word is taken that is no form of a word known before.
        stop_words: Language -> words without a meaning of their own, as far as no noun is known.
        english: English words -> "", or the singular of an irregular plural.
        nouns: What is known of English words.
        closeness: (Language, word, English) -> how close their meanings are: a cosine.
    """
    trusted = list(trusted)
    votes = _count_votes(trusted, closeness or {})
    tables = {language: _choose(words, nouns) for language, words in votes.items()}
    for language, words in _count_votes(vague, closeness or {}).items():
        known = tables.setdefault(language, {})
        taken = {w: c for w, c in words.items() if find_inflected(known, language, w) is None}
        for word, count in taken.items():
            votes[language][word].update(count)
        tables[language] = known | _choose({word: votes[language][word] for word in taken}, nouns)
    named = {
        (pair.language, pair.word)
        for pair in trusted
        if pair.weight >= SURE_WEIGHT
        and pair.english in nouns.visible
        and (len(pair.word) >= MIN_LETTERS or UNSPACED_SCRIPTS.search(pair.word))
    }
    undetermined: dict[str, Counter[str]] = defaultdict(Counter)
    for language, table in tables.items():
        for word in stop_words.get(language, ()):
            for key in split_words(word, language):
                if (language, word) not in named:  # "für" is no noun, and nor is "de", unlike "dé"
                    table[key] = ""
        for word, meaning in table.items():
            if meaning:
                undetermined[word][meaning] += votes[language][word][meaning]
    several = {word: count for word, count in undetermined.items() if len(count) > 1}
    sure = {
        " ".join(split_words(word, language))
        for language, word in named
        if language not in ACCENTED_LANGUAGES
    }
    kept = {
        word: stem for word, stem in english.items() if word not in sure or not nouns.is_rare(word)
    }
    return {**tables, ENGLISH: kept, UNDETERMINED: _choose(several, nouns)}


def emoji_pairs(annotations: Mapping[str, Annotations], nouns: EnglishNouns) -> Iterator[Pair]:
    """The words at the same emoji; flags, signs of the zodiac and symbols are left out."""
    left_out = {
        emoji
        for emoji, annotation in annotations[ENGLISH].items()
        if is_flag(emoji)
        or emoji in ZODIAC
        or (ord(emoji[0]) < FIRST_PICTOGRAM and emoji not in PICTOGRAMS_BELOW)
        or annotation.name.endswith(SYMBOL_NAMES)
    }
    kept = {
        language: {e: a for e, a in known.items() if e not in left_out}
        for language, known in annotations.items()
    }
    return _pair_words(kept, nouns)


def map_pairs(presets: Mapping[str, Annotations], nouns: EnglishNouns) -> Iterator[Pair]:
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


def _count_votes(
    pairs: Iterable[Pair], closeness: Mapping[tuple[str, str, str], float]
) -> dict[str, dict[str, Counter[str]]]:
    votes: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for language, word, english, weight in pairs:
        cosine = closeness.get((language, word, english), MEAN_COSINE)
        vote = weight * math.exp(CLOSENESS_WEIGHT * (cosine - MEAN_COSINE))
        words = split_words(word, language)
        if 0 < len(words) <= MAX_WORDS and not re.search(r"[\[\]\t]", word + english):
            key = " ".join(words)
            votes[language][key][english] += vote  # type: ignore[assignment]
            if to_hiragana(key) != key:
                votes[language][to_hiragana(key)][english] += READING_WEIGHT * vote  # type: ignore[assignment]
    return votes


def _choose(votes: Mapping[str, Counter[str]], nouns: EnglishNouns) -> dict[str, str]:
    """The translation of each word that has the most votes, common English words first."""
    return {
        word: max(count, key=lambda e: (count[e] * nouns.weigh(e), e))
        for word, count in votes.items()
    }


def _pair_words(annotations: Mapping[str, Annotations], nouns: EnglishNouns) -> Iterator[Pair]:
    english = annotations[ENGLISH]
    stands_at = _things_by_word(english)
    for language, known in annotations.items():
        if language == ENGLISH:
            continue
        names: dict[str, list[str]] = defaultdict(list)
        for thing, annotation in known.items():
            if thing in english:
                short = _shorten(english[thing], nouns, len(split_words(annotation.name, language)))
                names[annotation.name].append(short)
        for word, things in _things_by_word(known).items():
            share = len(things) ** 0.5  # what stands at many is well known
            if word in names:
                for name in names[word]:
                    yield Pair(language, word, name, NAME_WEIGHT * share / len(names[word]) ** 0.5)
            for best, overlap in _translate(things & english.keys(), english, stands_at, nouns):
                if best != word and (" " in word or " " not in best or best in nouns.visible):
                    yield Pair(language, word, best.removesuffix(" face"), overlap * share)


def _shorten(annotation: Annotation, nouns: EnglishNouns, num_words: int) -> str:
    """`dog face` -> `dog`; where one word says it, `two-hump camel` -> `camel`.

    A word of the name that is a keyword too is the thing; the last word of "kitchen knife", the
    first of "cheese wedge".
    """
    name = annotation.name.removesuffix(" face")
    if name in nouns.visible or num_words != 1:
        return name if name in nouns.visible else annotation.name
    words = re.split(r"[ -]|[’']s ", name.split(" of ")[-1].split(" with")[0])
    thing = (w for w in (words[-1], words[0]) if w in nouns.visible and w in annotation.keywords)
    return next(thing, annotation.name)


def _translate(
    things: set[str], english: Annotations, stands_at: Things, nouns: EnglishNouns
) -> list[tuple[str, float]]:
    """The English words whose things overlap most with `things`, and how much.

    Names count more than keywords, nouns for visible things more than other words, and common
    words more than rare ones. Nothing where the best does not overlap well.
    """
    called = {english[thing].name for thing in things}
    candidates = {word for thing in things for word in english[thing].words if word in stands_at}

    def overlap(word: str) -> float:
        shared = len(things & stands_at[word]) / len(things | stands_at[word])
        weight = NAME_WEIGHT if word in called else 1.0
        return shared * weight * EXTRA_WORD_PENALTY ** word.count(" ")

    def preference(word: str) -> tuple[float, str]:
        kind = VISIBLE_WEIGHT if word in nouns.visible else PHRASE_WEIGHT if " " in word else 1.0
        return overlap(word) * kind * nouns.weigh(word), word

    ranked = sorted(candidates, key=preference, reverse=True)[:MAX_CANDIDATES]
    if not ranked or overlap(ranked[0]) < MIN_OVERLAP:
        return []
    most = preference(ranked[0])[0]
    return [(word, overlap(ranked[0]) * preference(word)[0] / most) for word in ranked]


def _things_by_word(annotations: Annotations) -> Things:
    found: dict[str, set[str]] = defaultdict(set)
    for thing, annotation in annotations.items():
        for word in annotation.words:
            if word:
                found[word].add(thing)
    return found
