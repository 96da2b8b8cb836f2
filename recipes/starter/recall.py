"""Recall of images by their words, on images that the head was not trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.starter.labeled_images import LabeledImage

Array = NDArray[np.float32]
RANKS = (1, 5, 10)
Recall = Mapping[str, tuple[float, ...]]
"""Language -> recall at each of `DEPTHS`, in percent."""


def measure_recall(
    examples: Sequence[LabeledImage], images: Array, embed: Callable[[list[str]], Array]
) -> Recall:
    """Text to image, per language; every image with the same text is relevant.

    `images` (n, 384) and what `embed` gives are unit rows. A text is a query once for each image.
    """
    rows_by_text: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, example in enumerate(examples):
        for language, text in {language: text for _, language, text in example.texts}.items():
            rows_by_text[language][text].append(row)
    return {
        language: _measure_language(texts, images, embed)
        for language, texts in sorted(rows_by_text.items())
    }


def mean_non_english(recalls: Recall) -> tuple[float, ...]:
    """The mean over the languages that are not English."""
    others = [found for language, found in recalls.items() if language != "en"]
    return tuple(float(np.mean(column)) for column in zip(*others, strict=True))


def _measure_language(
    texts: Mapping[str, list[int]], images: Array, embed: Callable[[list[str]], Array]
) -> tuple[float, ...]:
    order = np.argsort(-(embed(list(texts)) @ images.T), axis=1, kind="stable")  # (t, n)
    hits = np.zeros(len(RANKS))
    for ranking, right in zip(order, texts.values(), strict=True):
        for place, depth in enumerate(RANKS):
            hits[place] += len(right) * bool(set(ranking[:depth].tolist()) & set(right))
    return tuple(100 * hits / sum(len(right) for right in texts.values()))
