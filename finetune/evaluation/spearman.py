"""Spearman's correlation of a model's similarities with people's, and how sure one can be of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.bootstrap import Floats, random_signs, resample_counts


def spearman_correlation(scores: Floats, gold: Floats) -> float:
    """The correlation of the ranks of `scores` (n,) and `gold` (n,); 0 where one is constant."""
    return float(_weighted_pearson(_ranks(scores), _ranks(gold), np.ones((1, len(gold))))[0])


def bootstrap_spearman(scores: Floats, gold: Floats, seed: int = 0) -> Floats:
    """(resamples, 1) correlations when pairs are drawn with replacement and ranked anew."""
    return np.concatenate(
        [
            _weighted_pearson(_midranks(scores, counts), _midranks(gold, counts), counts)
            for counts in resample_counts(len(gold), seed)
        ]
    )[:, None]


def permute_spearman(before: Floats, after: Floats, gold: Floats, seed: int = 0) -> Floats:
    """(resamples, 1) differences of the correlations, when each pair's two scores, as ranks,
    change models or not by a coin: what is seen where neither model is better."""
    old, new, right = map(_ranks, (before, after, gold))
    out = []
    for signs in random_signs(len(gold), seed):
        ones = np.ones_like(signs)
        kept = np.where(signs > 0, new, old), np.where(signs > 0, old, new)
        known = np.broadcast_to(right, signs.shape)
        out.append(
            _weighted_pearson(kept[0], known, ones) - _weighted_pearson(kept[1], known, ones)
        )
    return np.concatenate(out)[:, None]


def _ranks(values: Floats) -> Floats:
    """(1, n)"""
    return _midranks(values, np.ones((1, len(values))))


def _midranks(values: Floats, counts: Floats) -> Floats:
    """(r, n) the rank of each of `values` (n,) in r samples that hold it `counts` (r, n) times."""
    kinds, place = np.unique(values, return_inverse=True)
    of_kind = np.zeros((len(counts), len(kinds)))
    for row, held in enumerate(counts):
        of_kind[row] = np.bincount(place, weights=held, minlength=len(kinds))
    below = np.cumsum(of_kind, axis=1) - of_kind
    middles: Floats = (below + (of_kind + 1) / 2)[:, place]
    return middles


def _weighted_pearson(x: Floats, y: Floats, weights: Floats) -> NDArray[np.float64]:
    """(r,) the weighted correlation of each row."""
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    together = (weights * x * y).sum(axis=1)
    spread = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    safe: Floats = np.divide(together, spread, out=np.zeros_like(together), where=spread > 1e-12)
    return safe
