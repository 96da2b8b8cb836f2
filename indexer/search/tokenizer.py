"""Splits text in every script into words, and a word into the tokens of BM25.

A word of a document has two tokens, which share its weight: its form without case, width and
accents, and its stem in the language of the text (Snowball, https://snowballstem.org). A query,
whose language is unknown, asks for the form and for its stems in all languages of its script.
So an exact match has the whole weight, "run" finds "running" in English texts alone, and an index
that was built before there were stems is found by exact forms. Scripts without spaces are split
into bigrams of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

from indexer.search.stop_words import (
    PARTICLES,
    guess_languages,
    is_stop_word,
    is_stop_word_of,
)

FORM_SHARE = 0.4  # of a word's weight; its stems share the rest
# in a query: of a bigram of a character and a particle; of a single Han among kana
BRIDGE_WEIGHT, CHARACTER_WEIGHT = 0.3, 0.5
DEFAULT_LANGUAGE = "en"  # of a file name or tag that has no function words
LANGUAGE_ALIASES = {"nb": "no", "nn": "no", "hr": "sr", "bs": "sr"}
STEMMERS = {  # script -> language -> Snowball's algorithm
    "LATIN": {
        "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "en": "english",
        "es": "spanish", "et": "estonian", "fi": "finnish", "fr": "french", "hu": "hungarian",
        "id": "indonesian", "it": "italian", "lt": "lithuanian", "nl": "dutch", "no": "norwegian",
        "pl": "polish", "pt": "portuguese", "ro": "romanian", "sv": "swedish", "tr": "turkish",
    },
    "CYRILLIC": {"ru": "russian"},
    "GREEK": {"el": "greek"},
    "ARABIC": {"ar": "arabic", "fa": "persian"},
    "DEVANAGARI": {"hi": "hindi"},
    "TAMIL": {"ta": "tamil"},
    "HANGUL": {"ko": ""},
}  # fmt: skip
# Han, kana, Thai, Lao, Burmese, Khmer: written without spaces
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u31f0-\u31ff\u3400-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
SEGMENT_PATTERN = re.compile(  # words with the vowel marks of Indic scripts
    rf"(?P<run>[{UNSPACED}]+)|(?:(?![{UNSPACED}])[\w\u0300-\u036f\u0900-\u0dff])+"
)
HAN = r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
HAN_PATTERN = re.compile(HAN)
SINGLE_HAN_PATTERN = re.compile(rf"(?<!{HAN}){HAN}(?!{HAN})")
ELISION_PATTERN = re.compile(  # l'arbre, dell'acqua, dog's, don't
    r"\b(?:[cdjlmnst]|qu|jusqu|lorsqu|dell|all|nell|sull|dall|un|quell)['’](?=\w)"
    r"|(?:n['’]t|['’](?:s|d|m|re|ve|ll))\b",
    re.IGNORECASE,
)
KOREAN_PARTICLES = re.compile(
    r"(?<=[\uac00-\ud7a3])(?:에서|에게|으로|부터|까지|은|는|이|가|을|를|의|에|와|과|도|로)$"
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a document as it is written, and its tokens with their shares (1 in all).

    Of a script without spaces, it is two characters (`is_bigram`), or one that these have too
    (`is_extra`).
    """

    text: str
    tokens: tuple[tuple[str, float], ...]
    is_bigram: bool = False
    is_extra: bool = False


def split_document(text: str, language: str | None, others: Sequence[str] = ()) -> Iterator[Word]:
    """Split a caption, tag, name or chunk into its words, without the function words.

    Args:
        text: The text.
        language: Its BCP 47 tag, if known; otherwise its function words tell it.
        others: The languages of the texts beside it, for words that no language is known for.
    """
    segments = list(_split(text))
    words = [word.casefold() for word, is_run in segments if not is_run]
    languages = (to_language(language),) if language else guess_languages(words)
    if words and len(words) == len(segments) and all(map(_is_function_word, words)):
        yield Word(text.strip(), ((_join_function_words(words), 1.0),))
        return
    is_guessed_english = not language and "en" in languages
    languages_by_ascii = {
        True: ("en",) if is_guessed_english else languages,  # the commonest of several
        False: tuple(code for code in languages if not (is_guessed_english and code == "en")),
    }
    for segment, is_run in segments:
        if is_run:
            pairs = _split_into_bigrams(segment)
            yield from (Word(pair, ((pair, 1.0),), is_bigram=True) for pair in pairs)
            if len(segment) > 1:
                characters = HAN_PATTERN.findall(segment)
                yield from (Word(c, ((c, 1.0),), is_extra=True) for c in characters)
        elif not _is_function_word(segment.casefold(), languages):
            known = languages_by_ascii[segment.isascii()] or (DEFAULT_LANGUAGE, *others)
            yield Word(segment, _share_weight(segment.casefold(), tuple(dict.fromkeys(known))))


def list_content_words(text: str) -> list[str]:
    """The words of a query as they are written, without function words.

    Of a script without spaces, what stands between particles counts as a word.
    """
    segments = list(_split(text))
    languages = guess_languages([word.casefold() for word, is_run in segments if not is_run])
    words: list[str] = []
    for segment, is_run in segments:
        if is_run:
            words += filter(None, PARTICLES.split(segment))
        elif not _is_function_word(segment.casefold(), languages):
            words.append(segment)
    return words


def tokenize_query(text: str) -> dict[str, float]:
    """The tokens that a query asks for, with their weights (1, or less for a part of a word).

    Function words are left out. A query that has nothing else asks for texts of just these words,
    such as the tag "The The".
    """
    segments = list(_split(text))
    words = [word.casefold() for word, is_run in segments if not is_run]
    languages = guess_languages(words)
    weights: dict[str, float] = {}
    for segment, is_run in segments:
        if is_run:
            weights |= _weigh_run(segment)
        elif not _is_function_word(segment.casefold(), languages):
            weights |= dict.fromkeys(_list_query_forms(segment.casefold()), 1.0)
    if words and not weights:
        weights[_join_function_words(words)] = 1.0
    # `_` was a letter in older indexes
    return weights | {fold(word): 1.0 for word in text.split() if "_" in word}


def fold(text: str) -> str:
    """Remove case, width, and the accents of Latin, Greek and Cyrillic."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = unicodedata.normalize("NFD", folded)
    if plain == folded or ord(folded[0]) > 0x052F:
        return folded
    return "".join(c for c in plain if not unicodedata.combining(c))


def to_language(tag: str) -> str:
    """`pt-BR` -> `pt`; languages that share their function words and stems are one."""
    code = tag.casefold().split("-")[0]
    return LANGUAGE_ALIASES.get(code, code)


def _split(text: str) -> Iterator[tuple[str, bool]]:
    """The words of a text, and its runs of a script without spaces (True)."""
    normalized = unicodedata.normalize("NFKC", text)
    for match in SEGMENT_PATTERN.finditer(ELISION_PATTERN.sub(" ", normalized)):
        if match["run"]:
            yield match[0], True
        else:
            yield from ((word, False) for word in match[0].split("_") if word)


def _is_function_word(word: str, languages: Sequence[str] = ()) -> bool:
    return is_stop_word(word) or is_stop_word_of(word, languages)


def _join_function_words(words: Sequence[str]) -> str:
    return "=" + " ".join(map(fold, words))


def _split_into_bigrams(run: str) -> list[str]:
    """`犬が走る` -> 犬が が走 走る; a single character stays as it is."""
    return ["".join(pair) for pair in pairwise(run)] or [run]


def _weigh_run(run: str) -> dict[str, float]:
    """The bigrams between the particles; less for those across one, and for a single Han."""
    pieces = [piece for piece in PARTICLES.split(run) if piece]
    if not pieces:
        return {}
    particles = PARTICLES.findall(run)
    inside = {pair for particle in particles for pair in _split_into_bigrams(particle)}
    across = [pair for pair in _split_into_bigrams(run) if pair not in inside]
    characters = [c for piece in pieces for c in SINGLE_HAN_PATTERN.findall(piece)]
    pairs = [pair for piece in pieces for pair in _split_into_bigrams(piece)]
    return (
        dict.fromkeys(across, BRIDGE_WEIGHT)
        | dict.fromkeys(characters, CHARACTER_WEIGHT)
        | dict.fromkeys(pairs, 1.0)
    )


def _list_query_forms(word: str) -> list[str]:
    """The form of a word and its stems, for every language whose function word it is not."""
    languages = STEMMERS.get(_find_script(word), {})
    stems = [*_stem(word, tuple(languages))]
    if "ko" in languages:  # its last syllable may be a particle, or not
        stems.append(f"ko:{word}")
    return [fold(word), *(s for s in stems if not is_stop_word_of(word, (s.split(":")[0],)))]


def _share_weight(word: str, languages: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Share the weight of a document's word between its form and its stems."""
    of_script = STEMMERS.get(_find_script(word), {})
    known = tuple(language for language in languages if language in of_script)
    if not known and of_script is not STEMMERS["LATIN"]:
        known = tuple(of_script)  # the script tells the language
    stems = _stem(word, known)
    if not stems:
        return ((fold(word), 1.0),)
    share = (1 - FORM_SHARE) / len(stems)
    return ((fold(word), FORM_SHARE), *((stem, share) for stem in stems))


@lru_cache(maxsize=65536)
def _stem(word: str, languages: tuple[str, ...]) -> tuple[str, ...]:
    """The stems as tokens, each with its language; none for numbers and names with digits."""
    if any(map(str.isdigit, word)):
        return ()
    stemmers = _load_stemmers()
    return tuple(
        f"{code}:{fold(stemmers[code](word)) if code != 'ko' else KOREAN_PARTICLES.sub('', word)}"
        for code in languages
    )


@cache
def _load_stemmers() -> dict[str, Callable[[str], str]]:
    import Stemmer

    return {
        code: Stemmer.Stemmer(algorithm, 0).stemWord
        for languages in STEMMERS.values()
        for code, algorithm in languages.items()
        if algorithm
    }


@lru_cache(maxsize=65536)
def _find_script(word: str) -> str:
    return unicodedata.name(word[0], "").split(" ")[0]
