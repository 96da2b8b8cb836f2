"""How strong a match is: a hit is compared with what unrelated queries find in the same collection.

A cosine says nothing by itself, and the best of many points is always above the rest. So the hit's
cosine is compared with the best cosines that the nouns of the bank (`noun_bank`) find in the
collection; most of them name nothing that is there. Those that do are the upper part of the best
cosines, so the distribution by chance is estimated from the lower part (the empirical null of Efron
2004). The largest of many values has a Gumbel distribution (Fisher and Tippett 1928): two quantiles
tell its place and scale. Each channel has its own, and the larger of a hit's channels is compared
with the larger of each noun's, so that several chances are not counted as one.

What people ask for in vain finds more than the nouns of the bank do: those are rarer things, and
what is there is often of a similar kind. So the distribution is moved and narrowed by two constants
that `python -m bench.strength` estimates from absent everyday words. The strength is the share of
these whose best match is weaker: at 0.9, one in ten of them finds something better. An image is
ranked among what the collection's own images find besides themselves. Measured on drawings, one
whose kind is absent is above the share r of them in about (1 - r)^2 of the cases; so its strength
is 1 - (1 - r)^2. A hit of several parts is as strong as the weakest of them.

A model with a sigmoid head (SigLIP, Zhai et al. 2023) knows itself how likely a text fits an image,
if one of `MatchHead.prior_odds` images does; in a collection of n, one of n may (Saerens et al.
2002). Then that is the strength of what the image shows. A hit whose caption, tag or name has the
very word that is asked for is strong, whatever its cosines.

No claim is made about a text of more than `MAX_WORDS` words, without function words, as the cosines
of sentences are on another scale than those of nouns; nor about a text of which the model knows no
word, as its cosines tell present things from absent ones no better than chance does; nor about an
image in a collection of very few, or of texts alone. A filter changes no strength: among fewer
points, absent words find no more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np
from numpy.typing import NDArray

from embedder import EmbeddingModel, MatchHead
from indexer.collections.schema import BM25, IMAGE
from indexer.search.tokenizer import UNSPACED, list_content_words
from indexer.types import MATCH_WORDS, Part

MAX_WORDS = 2  # of a text that is compared with nouns, besides function words
MAX_UNSPACED = 10  # characters of a script without spaces
UNSPACED_PATTERN = re.compile(f"[{UNSPACED}]")
LOW, HIGH = 0.05, 0.25  # the quantiles of the best cosines that the distribution is estimated from
MIN_SCALE = 1e-6
ABSENT_PLACE, ABSENT_SCALE = 1.5, 0.9  # of what absent words find, where the bank's is 0, 1
MIN_IMAGES = 10  # fewer say little about what an image finds by chance
JUDGED_HITS = 20  # that tell whether anything matches, and of which the strong ones lead
COUNTED_MODELS = frozenset({"starter"})  # whose strong hits were counted: docs/quality.md
SAME_COSINE = 0.999  # of two images that are the same
WRITTEN_STRENGTH = 0.97  # of a hit with the very word: four of five are right
WRITTEN_CHARACTERS = 2  # of a word in a script without spaces, which is one token of BM25

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

    def rate_text(self, scores: ChannelScores, head: MatchHead | None = None) -> Array:
        """Rate n hits of a text that is about as long as a noun: strengths (n,), 0 to 1.

        Args:
            scores: What the text finds.
            head: What the model says of a text and an image; None: nothing.
        """
        compared = {name: of for name, of in scores.items() if not (head and name == IMAGE)}
        joint = self._joint.reduce(self._reduce_channels(compared))
        reduced = (joint - ABSENT_PLACE) / ABSENT_SCALE
        strengths = np.exp(-np.exp(-np.maximum(reduced, -50.0)))
        if head:
            logits = (
                head.scale * scores[IMAGE] + head.bias + log(head.prior_odds / max(self.points, 1))
            )
            shown = 1 / (1 + np.exp(-np.clip(logits, -50.0, 50.0)))
            strengths = np.fmax(strengths, shown)
        return np.asarray(strengths)

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
    model: EmbeddingModel | None = None,
) -> Array:
    """Rate n hits of a query.

    Args:
        parts: The parts that are wanted.
        scores: What each part finds in the hits, with their images.
        reference: What they are compared with.
        model: The model that embedded the texts, if it can be asked what it knows.

    Returns:
        The strengths (n,), 0 to 1; NaN where no claim can be made.
    """
    strengths = np.ones(len(scores[0][IMAGE]))
    if not len(strengths):  # an empty collection has nothing to compare with
        return strengths
    for part, found in zip(parts, scores, strict=True):
        strengths = np.minimum(strengths, _rate_part(part, found, reference, model))
    return np.round(strengths, 4)


def judge_matches(strengths: Array) -> bool | None:
    """Whether some of n hits, best first, is likely right; None where it is not known of all.

    Only the first count, whatever page is shown: far down, some hit of many is strong by chance.
    """
    first = strengths[:JUDGED_HITS]
    if (first >= MATCH_WORDS["likely"]).any():
        return True
    return None if np.isnan(first).any() else False


def put_strongest_first(strengths: Array) -> NDArray[np.intp]:
    """Order n ranked hits so that among the first the strong ones lead, then the likely ones.

    The ranking adds up what several channels find, and the strength is that of the best of them:
    a caption with the very word is stronger than it ranks. Each group keeps its order;
    docs/quality.md has what this gives.

    Returns:
        The places (n,) that the hits had.
    """
    first = np.nan_to_num(strengths[:JUDGED_HITS], nan=0.0)
    groups = np.searchsorted(sorted(MATCH_WORDS.values()), first, side="right")
    order = np.arange(len(strengths))
    order[: len(first)] = np.argsort(-groups, kind="stable")
    return order


def count_strong(
    strengths: Array, parts: Sequence[Part], model_name: str, depth: int
) -> int | None:
    """How many of the rated hits are strong, where that was measured: for a text, by the starter.

    None too where there may be more strong ones than the `depth` best of each channel, and where
    no hit is judged to match.
    """
    is_measured = model_name in COUNTED_MODELS and len(parts) == 1 and parts[0].text
    if not is_measured or not judge_matches(strengths) or np.isnan(strengths).any():
        return None
    count = int(np.count_nonzero(strengths >= MATCH_WORDS["strong"]))
    return count if count < depth else None


def _rate_part(
    part: Part, scores: ChannelScores, reference: ReferenceScores, model: EmbeddingModel | None
) -> Array:
    nothing = np.full(len(scores[IMAGE]), np.nan)
    if not part.text:
        has_images = len(reference.images) >= MIN_IMAGES and not np.isnan(scores[IMAGE]).all()
        return reference.rate_image(scores[IMAGE]) if has_images else nothing
    if is_comparable(part) and (model is None or model.knows_words(part.text)):
        strengths = reference.rate_text(scores, model.match_head if model else None)
    else:
        strengths = nothing
    if BM25 in scores and is_one_token(part.text):
        is_written = np.nan_to_num(scores[BM25]) > 0
        strengths = np.where(is_written, np.fmax(strengths, WRITTEN_STRENGTH), strengths)
    return strengths


def is_one_token(text: str) -> bool:
    """Whether a text is one word, besides function words, that BM25 finds as a whole."""
    words = list_content_words(text)
    unspaced = len(UNSPACED_PATTERN.findall(text))
    return len(words) == 1 and unspaced in {0, WRITTEN_CHARACTERS}


def is_comparable(part: Part) -> bool:
    """Whether a part is like the queries of the reference: one image, or a few words."""
    if not part.text:
        return True
    return (
        part.image is None
        and len(list_content_words(part.text)) <= MAX_WORDS
        and len(UNSPACED_PATTERN.findall(part.text)) <= MAX_UNSPACED
    )
