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
from finetune.synthesis.images import CollectionImages
from finetune.synthesis.journal import JobOutcome
from finetune.synthesis.samples import Sample, SampleImage
from finetune.synthesis.tasks import POSITIVE, QUERY

MIN_AGREEMENT = 0.5
NUM_REFERENCE_IMAGES = 1_000  # pictures that a text is held against
TEXT_BATCH = 64  # texts embedded at once


def matching_text_and_image(sample: Sample) -> tuple[str, SampleImage] | None:
    """The words and the picture that belong together, on opposite sides; None where one side has
    neither. An answer means little without its question, so they go together."""
    texts, images = sample.texts, sample.pictures
    if QUERY in texts and POSITIVE in images:
        return texts[QUERY], images[POSITIVE]
    if QUERY in images and POSITIVE in texts:
        query_text = texts.get(QUERY, "") if sample.task != "retrieval" else ""
        return f"{query_text} {texts[POSITIVE]}".strip(), images[QUERY]
    return None


def compute_agreements(
    samples: Sequence[Sample], images: CollectionImages, embedder: Embedder
) -> list[float | None]:
    """For each sample the share of up to 1000 of the collection's pictures that fit its words less
    well than its own; None where nothing can be compared."""
    references = _reference_vectors(images)
    shares: list[float | None] = [None] * len(samples)
    pairs = [
        (i, pair) for i, sample in enumerate(samples) if (pair := matching_text_and_image(sample))
    ]
    for start in range(0, len(pairs), TEXT_BATCH):
        batch = pairs[start : start + TEXT_BATCH]
        texts = embedder.embed([Input(text) for _, (text, _) in batch], "query")  # (b, dim)
        for (index, (_, image)), row in zip(batch, texts, strict=True):
            shares[index] = _rank_share(row, image, images, references)
    return shares


def _reference_vectors(images: CollectionImages) -> Vectors:
    """(n, dim) of a sample of the collection, always the same."""
    ids = random.Random(0).sample(images.ids, min(NUM_REFERENCE_IMAGES, len(images.ids)))
    return images.get_vectors(ids)


def _rank_share(
    text: NDArray[np.float32], image: SampleImage, images: CollectionImages, references: Vectors
) -> float | None:
    rows = images.get_vectors([image.id])  # (1, dim), or (0,) where it has left the collection
    if not len(rows):
        return None
    own_cosine = float(rows[0] @ text)
    cosines = references @ text  # (n,)
    lower, equal = (
        np.mean(cosines < own_cosine - 1e-6),
        np.mean(np.abs(cosines - own_cosine) <= 1e-6),
    )
    return float(lower + equal / 2)  # it may be among the others itself


def filter_by_agreement(
    outcomes: Sequence[JobOutcome],
    images: CollectionImages,
    embedder: Embedder,
    min_agreement: float = MIN_AGREEMENT,
) -> list[JobOutcome]:
    """Those of `outcomes` whose samples reach the floor, or have nothing to compare."""
    with_samples = [(outcome, outcome.sample) for outcome in outcomes if outcome.sample is not None]
    shares = compute_agreements([sample for _, sample in with_samples], images, embedder)
    return [
        outcome
        for (outcome, _), share in zip(with_samples, shares, strict=True)
        if share is None or share >= min_agreement
    ]
