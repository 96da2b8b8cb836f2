"""Reads the training data from packages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.families.starter import PREPROCESSING_VERSION
from recipes.starter.annotations import Annotations, read_annotations
from recipes.starter.gcompris import read_word_lists
from recipes.starter.imagenet_classes import ClassName, read_classes
from recipes.starter.japanese import JapaneseWords
from recipes.starter.labeled_images import (
    HELD_OUT_VENDOR,
    VENDORS,
    clipart_images,
    emoji_images,
    gcompris_images,
    held_out_emoji,
    stamp_images,
)
from recipes.starter.lexicon import (
    Lexicon,
    build_lexicon,
    emoji_pairs,
    map_pairs,
    read_english_words,
    word_list_pairs,
)
from recipes.starter.map_features import read_presets
from recipes.starter.packages import fetch_packages
from recipes.starter.teacher import MeaningSpace, TeacherModel
from recipes.starter.tower_features import ImageFeatureSet, compute_features
from recipes.starter.wordnet import WordNet

STOP_WORDS = "stopwordsiso/stopwords-iso.json"
Log = Callable[[str], None]
EVALUATED_LANGUAGES = ("en", "de", "fr", "es", "zh", "sv", "pt", "it", "ru", "th",
            "hi", "pl", "el", "ar", "ko", "vi", "tr", "hu", "ja", "he")  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data of all packages, for training and evaluation."""

    annotations: Mapping[str, Annotations]
    lexicon: Lexicon
    meanings: MeaningSpace
    classes: Sequence[ClassName]
    train: ImageFeatureSet
    held_out: Mapping[str, ImageFeatureSet]


def load_training_data(work: Path, log: Log) -> TrainingData:
    log("fetching the packages")
    sources = fetch_packages(work)
    annotations = read_annotations(sources)
    words = read_word_lists(sources["gcompris"])
    wordnet = WordNet.read(sources["wordnet"])
    lexicon = read_lexicon(sources, annotations, words, set(wordnet.visible_nouns))
    log("running the vision towers")
    trained, held = _load_images(sources, work, annotations, words)
    log("asking the teacher what words mean")
    meaning = MeaningSpace(
        TeacherModel(sources["minilm"], work / "teacher.npz"), wordnet.visible_nouns
    )
    classes = read_classes(sources["timm"], wordnet)
    return TrainingData(annotations, lexicon, meaning, classes, trained, held)


def read_lexicon(
    sources: Mapping[str, Path],
    annotations: Mapping[str, Annotations],
    words: Mapping[str, Mapping[str, list[str]]],
    nouns: set[str],
) -> Lexicon:
    """Build the lexicon from all packages that have words in several languages."""
    japanese = JapaneseWords.read(sources["unidic"])
    stop_words = {
        language: set(known)
        for language, known in json.loads((sources["stop-words"] / STOP_WORDS).read_text()).items()
    }
    trusted = [
        *emoji_pairs(annotations, nouns),
        *word_list_pairs(words),
        *japanese.loanword_pairs(nouns),
    ]
    vague = map_pairs(read_presets(sources["map-features"]), nouns)
    english = read_english_words(sources["wordnet"], annotations["en"], nouns, stop_words["en"])
    return build_lexicon(
        japanese.add_readings(trusted), japanese.add_readings(vague), stop_words, english, nouns
    )


def _load_images(
    sources: Mapping[str, Path],
    work: Path,
    annotations: Mapping[str, Annotations],
    words: Mapping[str, Mapping[str, list[str]]],
) -> tuple[ImageFeatureSet, dict[str, ImageFeatureSet]]:
    """The images for training, and those for evaluation."""

    def cache(name: str) -> Path:
        return work / f"{name}-{PREPROCESSING_VERSION}.npz"

    unseen = held_out_emoji(annotations)
    emoji = {
        vendor: compute_features(emoji_images(sources[vendor], vendor, annotations), cache(vendor))
        for vendor in VENDORS
    }
    trained = compute_features(clipart_images(sources["clipart"]), cache("clipart"))
    for vendor in (v for v in VENDORS if v != HELD_OUT_VENDOR):
        trained += _select_concepts(emoji[vendor], lambda concept: concept not in unseen)
    stamps = compute_features(
        stamp_images(sources["stamps"], work, EVALUATED_LANGUAGES), cache("stamps")
    )
    gcompris = compute_features(
        gcompris_images(sources["gcompris"], work, words), cache("gcompris")
    )
    return trained, {
        "Tux Paint stamps of things": _select_concepts(
            stamps, lambda c: not c.startswith("symbols/")
        ),
        "All Tux Paint stamps": stamps,
        "GCompris pictures": gcompris,
        "New emoji in a new style": _select_concepts(emoji[HELD_OUT_VENDOR], lambda c: c in unseen),
    }


def _select_concepts(image_set: ImageFeatureSet, wanted: Callable[[str], bool]) -> ImageFeatureSet:
    return image_set.select(
        [i for i, example in enumerate(image_set.images) if wanted(example.concept)]
    )
