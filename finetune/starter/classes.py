"""ImageNet's 1000 classes in words: their lemmas, and what WordNet says they are kinds of.

Names: timm (Apache-2.0); hypernyms: WordNet 3.0 (WordNet License). A beagle is a hound is a dog:
without its hypernyms the class would not answer to `dog`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INFO = "timm/data/_info"
ABSTRACT = 5  # the topmost hypernyms say nothing: entity, object, whole...
NEAR = 5  # hypernyms that count


@dataclass(frozen=True, slots=True)
class ClassName:
    """A class's lemmas, the commonest first, and its hypernyms, the nearest first."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]


def read_classes(timm: Path, wordnet: Path) -> list[ClassName]:
    """The classes in the order of the towers' logits."""
    synsets = (timm / INFO / "imagenet_synsets.txt").read_text("utf-8").split()
    rows = (timm / INFO / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
    lemmas = dict(row.split("\t") for row in rows)
    above, names = _nouns(wordnet / "usr/share/wordnet/data.noun")
    return [
        ClassName(
            tuple(name.strip() for name in lemmas[synset].split(",")),
            tuple(names[offset] for offset in _chain(synset[1:], above)),
        )
        for synset in synsets
    ]


def _chain(offset: str, above: Mapping[str, str]) -> list[str]:
    chain = []
    while offset in above:
        offset = above[offset]
        chain.append(offset)
    return chain[:-ABSTRACT][:NEAR]


def _nouns(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Synset -> its first hypernym, and synset -> its first lemma; wndb(5WN) tells the format."""
    above: dict[str, str] = {}
    names: dict[str, str] = {}
    for line in path.read_text("latin-1").splitlines():
        if line.startswith(" "):
            continue  # the licence
        fields = line.split(" ")
        words = int(fields[3], 16)
        names[fields[0]] = fields[4].replace("_", " ")
        pointers = fields[5 + 2 * words :]
        for symbol, target in zip(pointers[0::4], pointers[1::4], strict=False):
            if symbol in ("@", "@i"):
                above.setdefault(fields[0], target)
    return above, names
