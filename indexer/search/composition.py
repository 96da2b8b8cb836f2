"""Makes one z of the parts of a query, and applies its unwanted parts as rules.

Wanted parts: the best fitting image counts in full, and every other part adds 0.4 of what speaks
for the point. Without an image, the best fitting text counts in full, and others add 0.7. The order
of the parts does not matter, and their weights count in relation to the highest one.

Unwanted parts: a point shows one from a z of 2.5. Among words, it must also have 0.65 of the z of
the point that shows the unwanted best: "volleyball" fits every ball, and a volleyball far better.
Such a point is dropped if its z for the unwanted is 0.8 of that for the wanted or more, or if the
only unwanted word is in its captions, tags or name. With an image on either side z is no fair
comparison, as similar images reach a far higher one than words do: what exceeds 2.5 is subtracted,
and a point is dropped if nothing is left. A weight scales the unwanted, and one below 1 lets a
written word pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.search.fusion import Scores

BESIDE_IMAGE = 0.4  # these two were chosen on pictures with words, and on pairs of words
BESIDE_TEXT = 0.7
SHOWN_Z = 2.5
NEAR_BEST, AGAINST = 0.65, 0.8  # chosen on words and a minus: bench/quality_negatives.py


def compose(z: Scores, weights: Sequence[float], is_image: Sequence[bool]) -> Scores:
    """Make one z (n,) of that of each wanted part.

    Args:
        z: (parts, n).
        weights: Of the parts; above 0.
        is_image: Which parts are images.
    """
    relative = np.asarray(weights) / max(weights)
    weighted = z * relative[:, None]
    is_base = np.asarray(is_image) if any(is_image) else np.ones(len(weights), dtype=bool)
    best = weighted[is_base].max(axis=0)
    others = np.maximum(weighted, 0).sum(axis=0) - np.maximum(best, 0)
    share = BESIDE_IMAGE if any(is_image) else BESIDE_TEXT
    return np.asarray(best + share * others)


def drop_unwanted(
    z: Scores, unwanted: Scores, weight: float, best: float, *, with_image: bool
) -> tuple[Scores, NDArray[np.bool_]]:
    """Apply the rule of one unwanted part.

    Args:
        z: (n,) of the wanted parts.
        unwanted: (n,) of the unwanted part; inf where its only word is written.
        weight: Of the unwanted part; above 0.
        best: The highest z of the unwanted part in the collection, as far as it is known.
        with_image: Whether the unwanted part, or a wanted one, is an image.

    Returns:
        (n,) z, and which points it drops.
    """
    if with_image:
        lowered = z - weight * np.maximum(unwanted - SHOWN_Z, 0)
        return lowered, (unwanted > SHOWN_Z) & (lowered <= 0)
    return z, is_shown(unwanted, 1.0, best) & (weight * unwanted >= AGAINST * z)


def is_shown(unwanted: Scores, weight: float, best: float) -> NDArray[np.bool_]:
    """Whether points show an unwanted part; see `drop_unwanted`. `best` is 0 for an image."""
    return (weight * np.maximum(unwanted, 0) > SHOWN_Z) & (unwanted >= NEAR_BEST * best)
