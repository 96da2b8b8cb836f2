"""How sure one can be of a mean over questions, and of a difference of two.

What is drawn again are clusters, not questions: the captions of one picture in seven languages
stand or fall together, and to count them as seven independent trials would make intervals too
narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
MAX_CHUNK_VALUES = 1 << 22  # numbers in hand


def encode_clusters(clusters: Sequence[str]) -> NDArray[np.int64]:
    """(n,) the clusters as numbers from 0."""
    found: NDArray[np.int64] = np.unique(np.array(clusters), return_inverse=True)[1].reshape(-1)
    return found


def resample_counts(clusters: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """How often each cluster is drawn in each resample: (some, clusters) at a time."""
    rng = np.random.default_rng(seed)
    some = max(1, MAX_CHUNK_VALUES // clusters)
    for start in range(0, resamples, some):
        rows = min(some, resamples - start)
        drawn = rng.integers(0, clusters, (rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.reshape(-1), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def bootstrap_means(values: Floats, clusters: NDArray[np.int64], seed: int = 0) -> Floats:
    """(resamples, m) the means of `values` (n, m) when whole clusters are drawn with replacement.

    The cluster bootstrap (Davison and Hinkley 1997, section 3.8). The same seed and clusters draw
    the same, so the replicates of two models may be subtracted.
    """
    count = int(clusters.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, clusters, values)
    sizes = np.bincount(clusters, minlength=count).astype(np.float64)
    return np.concatenate([(d @ sums) / (d @ sizes)[:, None] for d in resample_counts(count, seed)])


def percentile_interval(resampled: Floats) -> tuple[Floats, Floats]:
    """The 2.5th and 97.5th percentiles of `drawn` (resamples, m)."""
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return low, high


def clopper_pearson(
    mean: Floats, low: Floats, high: Floats, clusters: int
) -> tuple[Floats, Floats]:
    """The interval where all of `items` agree on 0 or 1: they show no spread to draw from, and the
    exact bound of a binomial (Clopper and Pearson 1934), 0.025^(1/items) away, stands instead."""
    reach = 0.025 ** (1 / clusters)
    return np.where(mean >= 1, reach, low), np.where(mean <= 0, 1 - reach, high)


def sign_flip(differences: Floats, clusters: NDArray[np.int64], seed: int = 0) -> Floats:
    """(resamples, m) means of `differences` (n, m) with each cluster's sign tossed.

    That is what is seen where neither model is better (Fisher's randomisation test, paired).
    """
    count = int(clusters.max()) + 1
    sums = np.zeros((count, differences.shape[1]))
    np.add.at(sums, clusters, differences)
    return np.concatenate([signs @ sums for signs in random_signs(count, seed)]) / len(differences)


def random_signs(clusters: int, seed: int, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """1 or -1 for each cluster: (some, clusters) at a time."""
    rng = np.random.default_rng(seed)
    some = max(1, MAX_CHUNK_VALUES // clusters)
    for start in range(0, resamples, some):
        shape = (min(some, resamples - start), clusters)
        yield rng.integers(0, 2, shape, dtype=np.int8).astype(np.float64) * 2 - 1


def compute_p_value(observed: Floats, null: Floats) -> Floats:
    """(m,) two-sided: how often chance gives a difference as large as `seen` (m,), counting what
    was seen as one of the trials, so that p is never 0."""
    extreme = np.abs(null) >= np.abs(observed) - 1e-12
    return np.asarray((1 + extreme.sum(axis=0)) / (1 + len(null)))
