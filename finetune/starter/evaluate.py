"""Recall of pictures by their words, on pictures that the head never saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from finetune.starter.pictures import Picture

Array = NDArray[np.float32]
DEPTHS = (1, 5, 10)
Recall = Mapping[str, tuple[float, ...]]
"""Language -> recall at each of `DEPTHS`, in percent."""


def recall(
    pictures: Sequence[Picture], images: Array, embed: Callable[[list[str]], Array]
) -> Recall:
    """Text to image, per language; every picture that bears the same text is right.

    `images` (n, 384) and what `embed` gives are unit rows. A text is asked once for each picture.
    """
    asked: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, picture in enumerate(pictures):
        for language, text in {language: text for _, language, text in picture.words}.items():
            asked[language][text].append(row)
    return {language: _recall(texts, images, embed) for language, texts in sorted(asked.items())}


def mean_of_others(recalls: Recall) -> tuple[float, ...]:
    """The mean over the languages that are not English."""
    others = [found for language, found in recalls.items() if language != "en"]
    return tuple(float(np.mean(column)) for column in zip(*others, strict=True))


def _recall(
    texts: Mapping[str, list[int]], images: Array, embed: Callable[[list[str]], Array]
) -> tuple[float, ...]:
    order = np.argsort(-(embed(list(texts)) @ images.T), axis=1, kind="stable")  # (t, n)
    hits = np.zeros(len(DEPTHS))
    for ranking, right in zip(order, texts.values(), strict=True):
        for place, depth in enumerate(DEPTHS):
            hits[place] += len(right) * bool(set(ranking[:depth].tolist()) & set(right))
    return tuple(100 * hits / sum(len(right) for right in texts.values()))
