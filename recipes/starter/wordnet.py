"""WordNet 3.0's nouns: their lemmas, hypernyms and definitions.

License: WordNet License. The manual page wndb(5WN) describes the format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

FOLDER = "usr/share/wordnet"
PHYSICAL_ENTITY = "00001930"  # physical entity: visible things are below it
MAX_NOUN_WORDS = 2  # of a noun in the vocabulary
THING_FILES = {"05", "06", "13", "17", "20"}  # animals, artifacts, food, natural objects, plants


@dataclass(frozen=True, slots=True)
class Synset:
    """Nouns that mean the same, their hypernyms, and the first clause of their gloss."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]  # offsets of synsets
    is_instance: bool  # a river or a person, not a kind of thing
    gloss: str
    file: str = ""  # of the lexicographers: what kind of thing it is; lexnames(5WN)

    @property
    def definition(self) -> str:
        return f"{', '.join(self.lemmas)}: {self.gloss}"


class WordNet:
    """The noun synsets by their offset, and each noun's synsets, the most common first."""

    def __init__(
        self,
        synsets: Mapping[str, Synset],
        senses: Mapping[str, tuple[str, ...]],
        occurrences: Mapping[str, int] | None = None,
    ) -> None:
        self.synsets, self.senses, self._occurrences = synsets, senses, occurrences or {}
        self._physical: dict[str, bool] = {PHYSICAL_ENTITY: True}

    @staticmethod
    def read(package: Path) -> WordNet:
        index = _read_lines(package / FOLDER / "index.noun")
        return WordNet(
            dict(map(_parse_synset, _read_lines(package / FOLDER / "data.noun"))),
            dict(map(_parse_senses, index)),
            dict(map(_parse_occurrences, index)),
        )

    @staticmethod
    def read_common_lemmas(package: Path) -> set[str]:
        """Words of any part of speech in small letters that WordNet's tagged texts have."""
        small: set[str] = set()
        tagged: Counter[str] = Counter()
        for part in ("noun", "verb", "adj", "adv"):
            for line in _read_lines(package / FOLDER / f"data.{part}"):
                fields = line.split(" | ")[0].split(" ")
                small.update(fields[4 : 4 + 2 * int(fields[3], 16) : 2])
            for line in _read_lines(package / FOLDER / f"index.{part}"):
                fields = line.split()
                tagged[fields[0]] += int(fields[-int(fields[2]) - 1])
        return {word for word in small if word.islower() and tagged[word]}

    @staticmethod
    def read_counts(package: Path) -> Counter[str]:
        """How often WordNet's annotated texts have a word, of any part of speech and in any sense.

        `cntlist.rev` has a line per sense: its key, number and count; cntlist(5WN).
        """
        counts: Counter[str] = Counter()
        for line in _read_lines(package / FOLDER / "cntlist.rev"):
            key, _, count = line.split()
            counts[key.split("%")[0].replace("_", " ")] += int(count)
        return counts

    @staticmethod
    def read_irregular_plurals(package: Path) -> dict[str, str]:
        """Plural -> singular, of one word: wolves -> wolf."""
        lines = _read_lines(package / FOLDER / "noun.exc")
        return {f[0]: f[1] for f in map(str.split, lines) if f[0].isalpha() and f[1].isalpha()}

    def hypernym_chain(self, offset: str) -> list[str]:
        """The first hypernyms of a synset, the nearest first."""
        chain = []
        while above := self.synsets[offset].hypernyms:
            offset = above[0]
            chain.append(offset)
        return chain

    @cached_property
    def visible_nouns(self) -> dict[str, Synset]:
        """Noun in small letters -> its most common sense that is a kind of visible thing."""
        found = {}
        for word, senses in self.senses.items():
            if len(word.split()) <= MAX_NOUN_WORDS and word.replace(" ", "").isalpha():
                thing = next((s for s in senses if self._is_thing(s, word)), None)
                if thing:
                    found[word] = self.synsets[thing]
        return found

    @cached_property
    def things(self) -> dict[str, int]:
        """Visible noun that is an animal, an artifact, a food, a natural object or a plant in its
        most common sense -> in how many senses WordNet's annotated texts have it."""
        return {
            noun: self._occurrences.get(noun, 0)
            for noun in self.visible_nouns
            if self.synsets[self.senses[noun][0]].file in THING_FILES
        }

    def _is_thing(self, offset: str, word: str) -> bool:
        synset = self.synsets[offset]
        return word in synset.lemmas and not synset.is_instance and self._is_physical(offset)

    def _is_physical(self, offset: str) -> bool:
        if offset not in self._physical:
            self._physical[offset] = any(map(self._is_physical, self.synsets[offset].hypernyms))
        return self._physical[offset]


def _read_lines(path: Path) -> list[str]:
    """Without the license, whose lines start with a space."""
    return [line for line in path.read_text("latin-1").splitlines() if not line.startswith(" ")]


def _parse_synset(line: str) -> tuple[str, Synset]:
    data, _, gloss = line.partition(" | ")
    fields = data.split(" ")
    words = int(fields[3], 16)
    lemmas = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(words))
    pointers = fields[5 + 2 * words :]
    above = [(s, t) for s, t in zip(pointers[0::4], pointers[1::4], strict=False) if s[:1] == "@"]
    is_instance = any(symbol == "@i" for symbol, _ in above)
    return fields[0], Synset(
        lemmas, tuple(t for _, t in above), is_instance, gloss.split(";")[0].strip(), fields[1]
    )


def _parse_senses(line: str) -> tuple[str, tuple[str, ...]]:
    fields = line.split()
    return fields[0].replace("_", " "), tuple(fields[-int(fields[2]) :])


def _parse_occurrences(line: str) -> tuple[str, int]:
    """A noun, and in how many senses the annotated texts have it."""
    fields = line.split()
    return fields[0].replace("_", " "), int(fields[-int(fields[2]) - 1])
