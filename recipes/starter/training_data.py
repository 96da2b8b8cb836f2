"""Reads the training data from packages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.families.starter import PREPROCESSING_VERSION
from recipes.starter.annotations import Annotations, read_annotations
from recipes.starter.bilingual import (
    COMMON_BONUS,
    THING_BONUS,
    BilingualEncoder,
    NounFinder,
    choose_nouns,
    measure_closeness,
    read_word_frequencies,
    read_words,
)
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
    EnglishNouns,
    Lexicon,
    Pair,
    build_lexicon,
    emoji_pairs,
    map_pairs,
    read_english_words,
    word_list_pairs,
)
from recipes.starter.map_features import read_presets
from recipes.starter.packages import fetch_packages
from recipes.starter.teacher import MeaningSpace, TeacherModel
from recipes.starter.tower_features import ImageFeatureSet, TextEmbeddingCache, compute_features
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
    texts: TextEmbeddingCache
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
    texts = TextEmbeddingCache(work / "texts.npz")
    log("finding words of other languages")
    lexicon = read_lexicon(sources, annotations, words, wordnet, work, texts)
    log("running the vision towers")
    trained, held = _load_images(sources, work, annotations, words)
    log("asking the teacher what words mean")
    meaning = MeaningSpace(
        TeacherModel(sources["minilm"], work / "teacher.npz"), wordnet.visible_nouns
    )
    classes = read_classes(sources["timm"], wordnet)
    return TrainingData(annotations, lexicon, texts, meaning, classes, trained, held)


def read_lexicon(
    sources: Mapping[str, Path],
    annotations: Mapping[str, Annotations],
    words: Mapping[str, Mapping[str, list[str]]],
    wordnet: WordNet,
    work: Path,
    texts: TextEmbeddingCache,
) -> Lexicon:
    """Build the lexicon from all packages that have words in several languages."""
    japanese = JapaneseWords.read(sources["unidic"])
    stop_words = {
        language: set(known)
        for language, known in json.loads((sources["stop-words"] / STOP_WORDS).read_text()).items()
    }
    visible = set(wordnet.visible_nouns)
    nouns = EnglishNouns(visible, WordNet.read_counts(sources["wordnet"]))
    trusted = [
        *emoji_pairs(annotations, nouns),
        *word_list_pairs(words),
        *japanese.loanword_pairs(visible),
    ]
    encoder = BilingualEncoder(sources["bilingual-encoder"], work / "bilingual.npz")
    vague = [
        *map_pairs(read_presets(sources["map-features"]), nouns),
        *_find_pairs(sources, annotations, wordnet, nouns, encoder, texts),
    ]
    closeness = measure_closeness([*trusted, *vague], encoder)
    english = read_english_words(sources["wordnet"], annotations["en"], visible, stop_words["en"])
    return build_lexicon(
        japanese.add_readings(trusted),
        japanese.add_readings(vague),
        stop_words,
        english,
        nouns,
        closeness,
    )


def _find_pairs(
    sources: Mapping[str, Path],
    annotations: Mapping[str, Annotations],
    wordnet: WordNet,
    known: EnglishNouns,
    encoder: BilingualEncoder,
    texts: TextEmbeddingCache,
) -> Iterator[Pair]:
    """Everyday words that the encoders find an English noun for."""
    counts = read_word_frequencies(sources["word-frequencies"], "en")
    emoji_words = {word for annotation in annotations["en"].values() for word in annotation.words}
    nouns = choose_nouns(counts, set(wordnet.visible_nouns), emoji_words, known.counts)
    bonuses = [
        COMMON_BONUS * math.log10(counts.get(noun, 0) + 10) + THING_BONUS * (noun in wordnet.things)
        for noun in nouns
    ]
    finder = NounFinder(nouns, np.array(bonuses, np.float32), encoder, texts.embed)
    for language, words in read_words(sources):
        yield from finder.find(language, words)


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
