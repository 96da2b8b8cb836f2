"""Fuses what an image shows and what is written about it into one z for a part of a query.

A BM25 score is in nats (a sum of log-odds), as is z^2/2 of a normal tail: sqrt(2 * bm25) is on the
scale of z. The evidence of an image and of its captions adds in nats, as in Fisher's method.

A captioned point has two chances to look relevant, and captions that fit by half stand out more
than images do: without more, captioned points would push all others out. So a fused z is divided by
its lift, the ratio of the 99th percentiles of the fused z and of the image z in the sample: as many
unrelated points then reach a z, whatever is known about them. The lift differs by query and by what
a point has. It is shrunk towards a prior, as the percentile of a small sample says little, and
limited, as a query that many captions fit has a high percentile because of them. The meaning of
texts gets its lift before their words are added, since words say nothing about most points.

Names count by how well those of the collection say what its images show: where many are wrong or
say something else, they would take from what the named images show, and let others pass them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.collections.schema import BM25, IMAGE, NAME, TEXT
from indexer.search.calibration import (
    CalibrationSample,
    ScoreDistribution,
    estimate_distribution,
    find_percentile,
)
from indexer.types import SparseVector, Vector

PERCENTILE = 99.0  # this and the next four were chosen on captioned drawings: docs/quality.md
PRIOR_LIFTS = (1, 1, 1, 1.5, 1, 1.2, 1, 1.5)  # by kind of point, as below
PRIOR_WORDS_LIFTS = (1, 1, 1, 1.1, 1, 1.1, 1, 1.1)
PRIOR_ROWS = 200  # sampled points that weigh as much as a prior
MAX_LIFT = 3.5
NAME_WEIGHT = 0.7  # of a name against a caption, where names say what images show
HAS_IMAGE, HAS_TEXT, HAS_NAME = 1, 2, 4  # their sum is the kind of a point
KINDS = 8

Scores = NDArray[np.float64]
"""(n,) scores or z of points; NaN where a point has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFusion:
    """How the scores of one part of a query become one z.

    Attributes:
        distributions: Dense channel -> the cosines of unrelated points.
        uses_text: Whether what is written about an image counts; not for a query by image.
        lifts: (KINDS,) of meaning.
        words_lifts: (KINDS,) of words.
        reach: The image z that one in a hundred unrelated points has. A name adds no more to what
            an image shows, so that a name alone is no reason for a first place.
        name_weight: Of a file's name against a caption.
        sample_z: The fused z (n,) of the sample.
    """

    distributions: Mapping[str, ScoreDistribution]
    uses_text: bool
    lifts: NDArray[np.float64]
    words_lifts: NDArray[np.float64]
    reach: float
    name_weight: float
    sample_z: Scores

    def fuse(self, scores: Mapping[str, Scores]) -> Scores:
        """Make one z of the scores that each point has.

        Args:
            scores: Channel -> (n,) scores of the same points: cosines, and BM25 in nats; NaN where
                a point has none. BM25 may be missing.

        Returns:
            (n,) z; -inf for points without a score that counts.
        """
        z = _to_z(scores, self.distributions, uses_text=self.uses_text)
        kinds = _find_kinds(z)
        meaning = _reduce(_fuse_meaning(z, self.reach, self.name_weight), self.lifts[kinds])
        return _reduce(_add_words(meaning, z, self.reach), self.words_lifts[kinds])


def fit_fusion(
    sample: CalibrationSample, vector: Vector, words: SparseVector, *, uses_text: bool
) -> PartFusion:
    """Fit the fusion of a part to the sample of the collection.

    Args:
        sample: Of the collection that is searched.
        vector: The part's vector, (dim,).
        words: Its words for BM25; may be empty.
        uses_text: Whether what is written about an image counts.
    """
    scores = {channel: sample.score(channel, vector) for channel in sample.vectors}
    known = {channel: estimate_distribution(s[~np.isnan(s)]) for channel, s in scores.items()}
    scores[BM25] = sample.score_words(words)
    z = _to_z(scores, known, uses_text=uses_text)
    kinds = _find_kinds(z)
    images = z[IMAGE][~np.isnan(z[IMAGE])]
    reach = max(find_percentile(images, PERCENTILE), 0.0) if len(images) else 0.0
    name_weight = NAME_WEIGHT * sample.name_trust
    meaning = _fuse_meaning(z, reach, name_weight)
    priors = [*PRIOR_LIFTS]
    priors[HAS_IMAGE + HAS_NAME] **= sample.name_trust
    lifts = _estimate_lifts(meaning, kinds, reach, priors)
    with_words = _add_words(_reduce(meaning, lifts[kinds]), z, reach)
    words_lifts = _estimate_lifts(with_words, kinds, reach, PRIOR_WORDS_LIFTS)
    return PartFusion(
        distributions=known,
        uses_text=uses_text,
        lifts=lifts,
        words_lifts=words_lifts,
        reach=reach,
        name_weight=name_weight,
        sample_z=_reduce(with_words, words_lifts[kinds]),
    )


def combine(a: Scores, b: Scores) -> Scores:
    """Add two z, each (n,), in nats; what is missing or against a point takes nothing away."""
    return np.where((a > 0) & (b > 0), np.hypot(a, b), np.fmax(a, b))


def _to_z(
    scores: Mapping[str, Scores], known: Mapping[str, ScoreDistribution], *, uses_text: bool
) -> dict[str, Scores]:
    """The z of each channel, NaN where it has none or does not count; of BM25 where words match."""
    missing = np.full(len(next(iter(scores.values()))), np.nan)
    z = {
        channel: known[channel].z(scores[channel]) if channel in scores else missing
        for channel in known
    }
    matched = np.nan_to_num(scores.get(BM25, missing))
    z[BM25] = np.where(matched > 0, np.sqrt(2 * np.maximum(matched, 0)), np.nan)
    if not uses_text:
        has_image = ~np.isnan(z[IMAGE])
        z = {c: np.where(has_image & (c != IMAGE), np.nan, values) for c, values in z.items()}
    return {NAME: missing, **z}


def _find_kinds(z: Mapping[str, Scores]) -> NDArray[np.intp]:
    bits = ((IMAGE, HAS_IMAGE), (TEXT, HAS_TEXT), (NAME, HAS_NAME))
    kinds: NDArray[np.intp] = np.sum([bit * ~np.isnan(z[c]) for c, bit in bits], axis=0)
    return kinds


def _fuse_meaning(z: Mapping[str, Scores], reach: float, name_weight: float) -> Scores:
    named = np.minimum(name_weight * z[NAME], reach + np.maximum(z[IMAGE], 0))
    written = np.fmax(z[TEXT], named)
    return np.nan_to_num(combine(z[IMAGE], written), nan=-np.inf)


def _add_words(fused: Scores, z: Mapping[str, Scores], reach: float) -> Scores:
    only_named = np.isnan(z[TEXT]) & ~np.isnan(z[NAME])
    limit = np.where(only_named, reach + np.maximum(z[IMAGE], 0), np.inf)
    words = np.minimum(z[BM25], limit)
    return np.where(np.isnan(words), fused, np.fmax(fused, combine(z[IMAGE], words)))


def _estimate_lifts(
    fused: Scores, kinds: NDArray[np.intp], reach: float, priors: Sequence[float]
) -> NDArray[np.float64]:
    """By how much more unrelated points of each kind reach in `fused` than by their image."""
    lifts = np.ones(KINDS)
    if reach <= 0:
        return lifts
    for kind in range(HAS_IMAGE + 1, KINDS):
        own = fused[kinds == kind]
        measured = find_percentile(own, PERCENTILE) / reach if len(own) else 1.0
        weight = len(own) / (len(own) + PRIOR_ROWS)
        lift = max(measured, 1 / MAX_LIFT) ** weight * priors[kind] ** (1 - weight)
        lifts[kind] = min(max(lift, 1.0), MAX_LIFT)
    return lifts


def _reduce(z: Scores, lift: Scores) -> Scores:
    """Divide what speaks for a point, and leave what speaks against it."""
    return np.where(z > 0, z / lift, z)
