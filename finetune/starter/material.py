"""Gathers what the recipe works on, from packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.starter_card import PREPROCESSING
from finetune.starter.annotations import Annotations, read_annotations
from finetune.starter.classes import ClassName, read_classes
from finetune.starter.features import Seen, see
from finetune.starter.lexicon import make_lexicon, read_english
from finetune.starter.pictures import (
    HELD_VENDOR,
    VENDORS,
    clipart_pictures,
    emoji_pictures,
    gcompris_pictures,
    held_emoji,
    stamp_pictures,
)
from finetune.starter.sources import fetch
from finetune.starter.teacher import Meanings, Teacher
from finetune.starter.wordlists import read_words
from finetune.starter.wordnet import WordNet

Say = Callable[[str], None]
MEASURED = ("en", "de", "fr", "es", "zh", "sv", "pt", "it", "ru", "th",
            "hi", "pl", "el", "ar", "ko", "vi", "tr", "hu", "ja", "he")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Material:
    """All that the packages give, in the forms that training and measuring want."""

    annotations: Mapping[str, Annotations]
    lexicon: Mapping[str, str]  # word -> English
    meanings: Meanings
    classes: Sequence[ClassName]
    trained: Seen
    held: Mapping[str, Seen]


def gather(work: Path, say: Say) -> Material:
    say("fetching the packages")
    sources = fetch(work)
    annotations = read_annotations(sources)
    words = read_words(sources["gcompris"])
    wordnet = WordNet.read(sources["wordnet"])
    entries = make_lexicon(annotations, words, read_english(sources["wordnet"], annotations["en"]))
    say("running the vision towers")
    trained, held = _pictures(sources, work, annotations, words)
    say("asking the teacher what words mean")
    meaning = Meanings(Teacher(sources["minilm"], work / "teacher.npz"), wordnet.things)
    classes = read_classes(sources["timm"], wordnet)
    return Material(annotations, entries, meaning, classes, trained, held)


def _pictures(
    sources: Mapping[str, Path],
    work: Path,
    annotations: Mapping[str, Annotations],
    words: Mapping[str, Mapping[str, list[str]]],
) -> tuple[Seen, dict[str, Seen]]:
    """What is trained on, and what is measured on."""

    def cache(name: str) -> Path:
        return work / f"{name}-{PREPROCESSING}.npz"

    unseen = held_emoji(annotations)
    emoji = {
        vendor: see(emoji_pictures(sources[vendor], vendor, annotations), cache(vendor))
        for vendor in VENDORS
    }
    trained = see(clipart_pictures(sources["clipart"]), cache("clipart"))
    for vendor in (v for v in VENDORS if v != HELD_VENDOR):
        trained += _where(emoji[vendor], lambda concept: concept not in unseen)
    stamps = see(stamp_pictures(sources["stamps"], work, MEASURED), cache("stamps"))
    gcompris = see(gcompris_pictures(sources["gcompris"], work, words), cache("gcompris"))
    return trained, {
        "Tux Paint stamps of things": _where(stamps, lambda c: not c.startswith("symbols/")),
        "All Tux Paint stamps": stamps,
        "GCompris pictures": gcompris,
        "New emoji in a new style": _where(emoji[HELD_VENDOR], lambda c: c in unseen),
    }


def _where(seen: Seen, wanted: Callable[[str], bool]) -> Seen:
    return seen.only([i for i, picture in enumerate(seen.pictures) if wanted(picture.concept)])
