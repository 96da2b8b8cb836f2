"""Make the noun bank of searches: `python -m recipes.noun_bank [--work FOLDER]`.

The bank has 800 nouns that name visible things, everyday and less everyday ones, in 32 languages.
A search compares its hits with the best that these nouns find (indexer/search/strength.py).

The rule: every emoji whose English name is a noun for a visible thing in WordNet, in English and in
`LANGUAGES_PER_EMOJI` other languages in turn (Unicode CLDR, Unicode License v3); the rest are
English nouns, drawn at random from those that occur in WordNet's annotated texts (WordNet License).
A visible thing is an animal, an artifact, a food, a plant or a natural object in its most common
sense. No word of a test set is in the bank: those of Tux Paint's stamps, of GCompris and of the
queries in bench/ and the samples, whatever the language, are left out.

Writes the nouns, and the vectors that the shipped starter gives them, beside the code.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import sys
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import embedder
from embedder.families.starter import LANGUAGES
from embedder.families.starter.text_tower import normalize_word
from indexer.search.noun_bank import NOUNS_FILE, SHIPPED_VECTORS_FILE, embed_nouns, write_vectors
from recipes.starter.annotations import Annotations, read_annotations
from recipes.starter.gcompris import read_word_lists
from recipes.starter.labeled_images import STAMPS
from recipes.starter.packages import PACKAGES, PackageError, fetch_packages
from recipes.starter.wordnet import WordNet

SIZE = 800
LANGUAGES_PER_EMOJI = 4
SOURCES = ("cldr", "cldr-derived", "wordnet", "gcompris", "stamps")
SAMPLES = Path(__file__).parents[1] / "samples"
BENCH = Path(__file__).parents[1] / "bench"
FIRST_PICTOGRAM = 0x2600  # below are signs: a comma, a slash
MIN_LETTERS = 4  # of a noun from WordNet


def choose_nouns(sources: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Choose (language, noun) by the rule; each noun once."""
    annotations, wordnet = read_annotations(sources), WordNet.read(sources["wordnet"])
    excluded = {normalize_word(text) for text in _test_texts(sources)}
    words = {word for text in excluded for word in re.findall(r"\w+", text)}
    words |= {word.removesuffix("s") for word in words}
    things = {n: count for n, count in wordnet.things.items() if not words & set(n.split())}
    chosen: dict[str, str] = {}
    for noun, language in _emoji_names(annotations, things):
        if noun not in excluded | words:
            chosen.setdefault(noun, language)
    rest = sorted(
        noun
        for noun, count in things.items()
        if count and noun.isalpha() and len(noun) >= MIN_LETTERS and noun not in chosen
    )
    for noun in random.Random(1).sample(rest, SIZE - len(chosen)):
        chosen[noun] = "en"
    return [(language, noun) for noun, language in chosen.items()]


def _emoji_names(
    annotations: Mapping[str, Annotations], things: Container[str]
) -> Iterator[tuple[str, str]]:
    """Names of one or two words with their language."""
    english = annotations["en"]
    emoji = [
        e for e in sorted(english) if ord(e[0]) >= FIRST_PICTOGRAM and english[e].name in things
    ]
    others = [language for language in LANGUAGES if language != "en"]
    for place, one in enumerate(emoji):
        yield english[one].name, "en"
        for turn in range(LANGUAGES_PER_EMOJI):
            language = others[(place * LANGUAGES_PER_EMOJI + turn) % len(others)]
            annotation = annotations[language].get(one)
            if annotation and len(annotation.name.split()) <= 2:
                yield annotation.name, language


def _test_texts(sources: Mapping[str, Path]) -> Iterator[str]:
    for known in read_word_lists(sources["gcompris"]).values():
        for key, texts in known.items():
            yield from (key.replace("_", " "), *texts)
    for described in (sources["stamps"] / STAMPS).rglob("*.txt"):
        for line in described.read_text("utf-8", "replace").splitlines():
            yield line.rpartition(".utf8=")[2]
    for queries in BENCH.glob("*_queries.csv"):
        with queries.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield from (row[language] for language in LANGUAGES if row.get(language))
    for sample in SAMPLES.rglob("*"):
        yield sample.stem.replace("-", " ").replace("_", " ")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m recipes.noun_bank", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--work", type=Path, default=cache, help="what is fetched")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    try:
        sources = fetch_packages(options.work, [p for p in PACKAGES if p.name in SOURCES])
    except PackageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    nouns = choose_nouns(sources)
    lines = "".join(f"{language}\t{noun}\n" for language, noun in nouns)
    NOUNS_FILE.write_text(lines, "utf-8")
    starter = embedder.load("starter")
    with SHIPPED_VECTORS_FILE.open("wb") as file:
        write_vectors(file, starter.card.fingerprint, embed_nouns(starter))
    sys.stdout.write(f"wrote {len(nouns)} nouns, and their vectors\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
