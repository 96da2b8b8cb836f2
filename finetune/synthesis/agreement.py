"""How well a sample's words fit its picture, by the embedder that the collection was made with.

A text agrees with a picture by the share of the collection's pictures that fit it less well: 0.5 is
chance, 1 is the best of all. A floor on that share asks the same of every text, however high or low
its cosines are. That the positive must beat the hard negative is not asked: the pairs in which this
very embedder prefers the negative are those that it learns most from.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.types import Embedder, Input, Vectors
from finetune.synthesis.gallery import Gallery
from finetune.synthesis.journal import Outcome
from finetune.synthesis.samples import Picture, Sample
from finetune.synthesis.tasks import POSITIVE, QUERY

FLOOR = 0.5
OTHERS = 1_000  # pictures that a text is held against
BATCH = 64  # texts embedded at once


def compared(sample: Sample) -> tuple[str, Picture] | None:
    """The words and the picture that belong together, on opposite sides; None where one side has
    neither. An answer means little without its question, so they go together."""
    texts, pictures = sample.texts, sample.pictures
    if QUERY in texts and POSITIVE in pictures:
        return texts[QUERY], pictures[POSITIVE]
    if QUERY in pictures and POSITIVE in texts:
        asked = texts.get(QUERY, "") if sample.task != "retrieval" else ""
        return f"{asked} {texts[POSITIVE]}".strip(), pictures[QUERY]
    return None


def agreements(
    samples: Sequence[Sample], gallery: Gallery, embedder: Embedder
) -> list[float | None]:
    """For each sample the share of up to 1000 of the collection's pictures that fit its words less
    well than its own; None where nothing can be compared."""
    others = _others(gallery)
    found: list[float | None] = [None] * len(samples)
    pairs = [(i, pair) for i, sample in enumerate(samples) if (pair := compared(sample))]
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        texts = embedder.embed([Input(words) for _, (words, _) in batch], "query")  # (b, dim)
        for (index, (_, picture)), row in zip(batch, texts, strict=True):
            found[index] = _share(row, picture, gallery, others)
    return found


def _others(gallery: Gallery) -> Vectors:
    """(n, dim) of a sample of the collection, always the same."""
    ids = random.Random(0).sample(gallery.ids, min(OTHERS, len(gallery.ids)))
    return gallery.vectors(ids)


def _share(
    text: NDArray[np.float32], picture: Picture, gallery: Gallery, others: Vectors
) -> float | None:
    rows = gallery.vectors([picture.id])  # (1, dim), or (0,) where it has left the collection
    if not len(rows):
        return None
    own = float(rows[0] @ text)
    cosines = others @ text  # (n,)
    worse, same = np.mean(cosines < own - 1e-6), np.mean(np.abs(cosines - own) <= 1e-6)
    return float(worse + same / 2)  # it may be among the others itself


def agreeing(
    outcomes: Sequence[Outcome], gallery: Gallery, embedder: Embedder, floor: float = FLOOR
) -> list[Outcome]:
    """Those of `outcomes` whose samples reach the floor, or have nothing to compare."""
    kept = [(outcome, outcome.sample) for outcome in outcomes if outcome.sample is not None]
    found = agreements([sample for _, sample in kept], gallery, embedder)
    return [
        outcome
        for (outcome, _), share in zip(kept, found, strict=True)
        if share is None or share >= floor
    ]
