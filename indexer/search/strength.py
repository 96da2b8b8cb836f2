"""How strong a match is: a hit is compared with what unrelated queries find in the same collection.

A cosine says nothing by itself, and the best of many points is always above the rest. So the hit's
cosine is compared with the best cosines that the nouns of the bank (`noun_bank`) find in the
collection; most of them name nothing that is there. Those that do are the upper part of the best
cosines, so the distribution by chance is estimated from the lower part (the empirical null of Efron
2004). The largest of many values has a Gumbel distribution (Fisher and Tippett 1928): two quantiles
tell its place and scale. Each channel has its own, and the larger of a hit's channels is compared
with the larger of each noun's, so that several chances are not counted as one.

The strength is the share of absent nouns whose best match is weaker: at 0.9, one in ten of them
finds something better. An image is ranked among what the collection's own images find besides
themselves. Measured on drawings, one whose kind is absent is above the share r of them in about
(1 - r)^2 of the cases; so its strength is 1 - (1 - r)^2. A hit of several parts is as strong as the
weakest of them. No claim is made about a text of more than `MAX_WORDS` words, without function
words: the cosines of sentences are on another scale than those of nouns; nor about an image in a
collection of very few, or of texts alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np
from numpy.typing import NDArray

from indexer.collections.schema import IMAGE
from indexer.search.tokenizer import UNSPACED, list_content_words
from indexer.types import Part

MAX_WORDS = 2  # of a text that is compared with nouns, besides function words
MAX_UNSPACED = 10  # characters of a script without spaces
UNSPACED_PATTERN = re.compile(f"[{UNSPACED}]")
LOW, HIGH = 0.05, 0.25  # the quantiles of the best cosines that the distribution is estimated from
MIN_SCALE = 1e-6
MIN_IMAGES = 10  # fewer say little about what an image finds by chance
SAME_COSINE = 0.999  # of two images that are the same

Array = NDArray[np.float64]
ChannelScores = Mapping[str, Array]
"""Channel -> cosines (n,); NaN where a point has no such vector."""


@dataclass(frozen=True, slots=True)
class Gumbel:
    """The distribution of the largest of many values: exp(-exp(-(x - place) / scale))."""

    place: float
    scale: float

    @staticmethod
    def fit(values: Array) -> Gumbel:
        """Estimate it from the lower part of `values`."""
        low, high = np.quantile(values, [LOW, HIGH])
        scale = max(float(high - low) / (_reduce(HIGH) - _reduce(LOW)), MIN_SCALE)
        return Gumbel(float(high) - _reduce(HIGH) * scale, scale)

    def reduce(self, values: Array) -> Array:
        """The values less the place, in units of the scale."""
        return (values - self.place) / self.scale


def _reduce(share: float) -> float:
    """The reduced value that is above `share` of the distribution."""
    return -log(-log(share))


@dataclass(frozen=True)
class ReferenceScores:
    """What reference queries find at best in a collection, when it had `points` points.

    Attributes:
        nouns: What the nouns of the bank find.
        images: What images of the collection find besides themselves, (m,).
        points: The number of points.
        changes: How many points have come, gone or changed since then.
    """

    nouns: ChannelScores
    images: Array
    points: int
    changes: int = 0

    def rate_text(self, scores: ChannelScores) -> Array:
        """Rate n hits of a text that is about as long as a noun: strengths (n,), 0 to 1."""
        joint = self._joint.reduce(self._reduce_channels(scores))
        return np.asarray(np.exp(-np.exp(-np.maximum(joint, -50.0))))

    def rate_image(self, cosines: Array) -> Array:
        """Rate n hits of an image by their images: strengths (n,), 0 to 1."""
        ascending = np.sort(self.images)
        above = np.searchsorted(ascending, cosines) / max(len(ascending), 1)
        strengths = np.where(np.isnan(cosines), 0.0, 1 - (1 - above) ** 2)
        return np.where(cosines >= SAME_COSINE, 1.0, strengths)

    @cached_property
    def _joint(self) -> Gumbel:
        return Gumbel.fit(self._reduce_channels(self.nouns))

    @cached_property
    def _channels(self) -> dict[str, Gumbel]:
        complete = {name: best for name, best in self.nouns.items() if not np.isnan(best).any()}
        return {name: Gumbel.fit(best) for name, best in complete.items()}

    def _reduce_channels(self, scores: ChannelScores) -> Array:
        """The largest reduced value of each hit in any channel; -inf for a hit in none."""
        reduced = [
            np.nan_to_num(known.reduce(scores[name]), nan=-np.inf)
            for name, known in self._channels.items()
            if name in scores
        ]
        return np.asarray(np.max(reduced, axis=0)) if reduced else np.array(-np.inf)


def rate_hits(
    parts: Sequence[Part],
    scores: Sequence[ChannelScores],
    reference: ReferenceScores,
) -> Array | None:
    """Rate n hits of a query.

    Args:
        parts: The parts that are wanted.
        scores: What each part finds in the hits, with their images.
        reference: What they are compared with.

    Returns:
        The strengths (n,), 0 to 1; None where no claim can be made about the query.
    """
    if not (parts and all(map(is_comparable, parts))):
        return None
    strengths = np.ones(len(scores[0][IMAGE]))
    if not len(strengths):  # an empty collection has nothing to compare with
        return strengths
    for part, found in zip(parts, scores, strict=True):
        if part.text:
            rated = reference.rate_text(found)
        elif len(reference.images) < MIN_IMAGES or np.isnan(found[IMAGE]).all():
            return None
        else:
            rated = reference.rate_image(found[IMAGE])
        strengths = np.minimum(strengths, rated)
    return np.round(strengths, 4)


def is_comparable(part: Part) -> bool:
    """Whether a part is like the queries of the reference: one image, or a few words."""
    if not part.text:
        return True
    return (
        part.image is None
        and len(list_content_words(part.text)) <= MAX_WORDS
        and len(UNSPACED_PATTERN.findall(part.text)) <= MAX_UNSPACED
    )
