"""ImageNet's 1000 classes in words: their lemmas, and their hypernyms in WordNet.

Names: timm (Apache-2.0). A beagle is a hound, which is a dog: without its hypernyms, `dog` would
not match the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recipes.starter.wordnet import Synset, WordNet

INFO = "timm/data/_info"
NUM_ABSTRACT = 5  # the topmost hypernyms are too general: entity, object, whole...
MAX_HYPERNYMS = 5  # hypernyms that count


@dataclass(frozen=True, slots=True)
class ClassName:
    """A class's lemmas, the most common first; its synset; its hypernyms, the nearest first."""

    lemmas: tuple[str, ...]
    synset: Synset
    hypernyms: tuple[Synset, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Ways to say the class's name."""
        first = self.lemmas[0]
        return (first, f"a photo of a {first}", ", ".join(self.lemmas), *self.lemmas[1:3])


def read_classes(timm: Path, wordnet: WordNet) -> list[ClassName]:
    """The classes in the order of the towers' logits."""
    synsets = (timm / INFO / "imagenet_synsets.txt").read_text("utf-8").split()
    rows = (timm / INFO / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
    lemmas = dict(row.split("\t") for row in rows)
    return [
        ClassName(
            tuple(name.strip() for name in lemmas[synset].split(",")),
            wordnet.synsets[synset[1:]],
            tuple(
                wordnet.synsets[o]
                for o in wordnet.hypernym_chain(synset[1:])[:-NUM_ABSTRACT][:MAX_HYPERNYMS]
            ),
        )
        for synset in synsets
    ]
