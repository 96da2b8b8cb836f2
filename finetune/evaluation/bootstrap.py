"""Uncertainty of mean metrics over queries, and of the difference of two models.

Clusters are resampled, not queries: the captions of one image in seven languages are not seven
independent trials, and treating them so would make intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.benchmark import SPEARMAN
from finetune.evaluation.report import MetricChange, MetricEstimate, QueryResult

Floats = NDArray[np.float64]
ResultParts = Sequence[Sequence[QueryResult]]
"""Results in parts of equal weight, whatever their sizes: one part, or one for each data set."""

RESAMPLES = 10_000
MAX_CHUNK_VALUES = 1 << 22
SEED = 0  # the same for all models, so that their resamples may be subtracted


def estimate_metrics(parts: ResultParts, metrics: Sequence[str]) -> Mapping[str, MetricEstimate]:
    """Each metric over `parts`, with its interval."""
    mean = _macro_mean(_point_estimate, metrics, parts)
    low, high = percentile_interval(_macro_mean(_bootstrap, metrics, parts))
    if SPEARMAN not in metrics:
        low, high = clopper_pearson(mean, low, high, _count_clusters(parts))
    columns = zip(metrics, mean, low, high, strict=True)
    return {name: MetricEstimate(*map(float, values)) for name, *values in columns}


def compare_metrics(
    before: ResultParts, after: ResultParts, metrics: Sequence[str]
) -> Mapping[str, MetricChange]:
    """Each metric of two models on the same queries.

    Every resample draws the same queries for both, so that queries that are hard for both do not
    widen the interval of the difference.
    """
    old, new = (_macro_mean(_point_estimate, metrics, parts) for parts in (before, after))
    difference = new - old
    low, high = percentile_interval(
        _macro_mean(_bootstrap, metrics, after) - _macro_mean(_bootstrap, metrics, before)
    )
    if SPEARMAN not in metrics:  # differences are in -1..1
        shares = ((difference + 1) / 2, (low + 1) / 2, (high + 1) / 2)
        low, high = (2 * bound - 1 for bound in clopper_pearson(*shares, _count_clusters(before)))
    p = compute_p_value(difference, _macro_mean(_null_distribution, metrics, before, after))
    columns = zip(metrics, old, new, difference, low, high, p, strict=True)
    return {name: MetricChange(*map(float, values)) for name, *values in columns}


def resample_counts(clusters: int) -> Iterator[Floats]:
    """How often each cluster is drawn in each resample, in chunks of (resamples, clusters)."""
    rng = np.random.default_rng(SEED)
    for rows in _chunk_sizes(clusters):
        drawn = rng.integers(0, clusters, (rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.reshape(-1), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def random_signs(clusters: int) -> Iterator[Floats]:
    """1 or -1 for each cluster, in chunks of (resamples, clusters)."""
    rng = np.random.default_rng(SEED)
    for rows in _chunk_sizes(clusters):
        signs = rng.integers(0, 2, (rows, clusters), dtype=np.int8)
        yield signs.astype(np.float64) * 2 - 1


def bootstrap_means(values: Floats, clusters: NDArray[np.int64]) -> Floats:
    """(resamples, m) the means of `values` (n, m) where whole clusters are drawn with replacement.

    The cluster bootstrap (Davison and Hinkley 1997, section 3.8). `clusters` (n,) are numbered from
    0. The same clusters give the same draws.
    """
    sums = _cluster_sums(values, clusters)
    sizes = np.bincount(clusters, minlength=len(sums)).astype(np.float64)
    counts = resample_counts(len(sums))
    return np.concatenate([(drawn @ sums) / (drawn @ sizes)[:, None] for drawn in counts])


def percentile_interval(resampled: Floats) -> tuple[Floats, Floats]:
    """The 2.5th and 97.5th percentiles of `resampled` (resamples, m)."""
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return low, high


def clopper_pearson(
    mean: Floats, low: Floats, high: Floats, clusters: int
) -> tuple[Floats, Floats]:
    """The interval where all clusters agree on 0 or 1.

    There is no spread to resample from, so the exact bound of a binomial (Clopper and Pearson
    1934), 0.025^(1/clusters), replaces it.
    """
    bound = 0.025 ** (1 / clusters)
    return np.where(mean >= 1, bound, low), np.where(mean <= 0, 1 - bound, high)


def sign_flip(differences: Floats, clusters: NDArray[np.int64]) -> Floats:
    """(resamples, m) means of `differences` (n, m) with the sign of each cluster drawn at random.

    The distribution where neither model is better (Fisher's randomization test, paired).
    """
    sums = _cluster_sums(differences, clusters)
    return np.concatenate([signs @ sums for signs in random_signs(len(sums))]) / len(differences)


def compute_p_value(observed: Floats, null: Floats) -> Floats:
    """(m,) two-sided p of `observed` (m,), which counts as one of the trials: p is never 0."""
    extreme = np.abs(null) >= np.abs(observed) - 1e-12
    return np.asarray((1 + extreme.sum(axis=0)) / (1 + len(null)))


def spearman_correlation(scores: Floats, gold: Floats) -> float:
    """The correlation of the ranks of `scores` (n,) and `gold` (n,); 0 where one is constant."""
    once = np.ones((1, len(gold)))
    return float(_weighted_pearson(_midranks(scores, once), _midranks(gold, once), once)[0])


def bootstrap_spearman(scores: Floats, gold: Floats) -> Floats:
    """(resamples, 1) correlations where pairs are drawn with replacement and ranked again."""
    correlations = [
        _weighted_pearson(_midranks(scores, counts), _midranks(gold, counts), counts)
        for counts in resample_counts(len(gold))
    ]
    return np.concatenate(correlations)[:, None]


def permute_spearman(before: Floats, after: Floats, gold: Floats) -> Floats:
    """(resamples, 1) differences of the correlations where the two ranks of each pair are swapped
    between the models at random: the distribution where neither model is better."""
    once = np.ones((1, len(gold)))
    old, new, gold_ranks = (_midranks(values, once) for values in (before, after, gold))
    differences = []
    for signs in random_signs(len(gold)):
        first, second = (
            _weighted_pearson(np.where(signs * side > 0, new, old), gold_ranks, np.ones_like(signs))
            for side in (1, -1)
        )
        differences.append(first - second)
    return np.concatenate(differences)[:, None]


def _macro_mean(
    statistic: Callable[..., Floats], metrics: Sequence[str], *models: ResultParts
) -> Floats:
    """The mean over parts of `statistic`, which takes the metrics and the part of each model."""
    parts = zip(*models, strict=True)
    return np.asarray(np.mean([statistic(metrics, *part) for part in parts], axis=0))


def _point_estimate(metrics: Sequence[str], part: Sequence[QueryResult]) -> Floats:
    if SPEARMAN in metrics:
        return np.array([spearman_correlation(*_scores_and_gold(part))])
    return np.asarray(_metric_table(metrics, part).mean(axis=0))


def _bootstrap(metrics: Sequence[str], part: Sequence[QueryResult]) -> Floats:
    if SPEARMAN in metrics:
        return bootstrap_spearman(*_scores_and_gold(part))
    return bootstrap_means(_metric_table(metrics, part), _number_clusters(part))


def _null_distribution(
    metrics: Sequence[str], before: Sequence[QueryResult], after: Sequence[QueryResult]
) -> Floats:
    if SPEARMAN in metrics:
        return permute_spearman(_scores_and_gold(before)[0], *_scores_and_gold(after))
    differences = _metric_table(metrics, after) - _metric_table(metrics, before)
    return sign_flip(differences, _number_clusters(before))


def _metric_table(metrics: Sequence[str], part: Sequence[QueryResult]) -> Floats:
    """(results, metrics)"""
    return np.array([[result.metrics[name] for name in metrics] for result in part], np.float64)


def _scores_and_gold(part: Sequence[QueryResult]) -> tuple[Floats, Floats]:
    """(results,) and (results,)"""
    scores, gold = np.array([(result.scores[0], result.gold) for result in part], np.float64).T
    return scores, gold


def _number_clusters(part: Sequence[QueryResult]) -> NDArray[np.int64]:
    """(results,) each result's cluster, numbered from 0."""
    return np.unique([result.cluster for result in part], return_inverse=True)[1].reshape(-1)


def _count_clusters(parts: ResultParts) -> int:
    return sum(len({result.cluster for result in part}) for part in parts)


def _chunk_sizes(clusters: int) -> Iterator[int]:
    size = max(1, MAX_CHUNK_VALUES // clusters)
    for start in range(0, RESAMPLES, size):
        yield min(size, RESAMPLES - start)


def _cluster_sums(values: Floats, clusters: NDArray[np.int64]) -> Floats:
    sums = np.zeros((int(clusters.max()) + 1, values.shape[1]))
    np.add.at(sums, clusters, values)
    return sums


def _midranks(values: Floats, counts: Floats) -> Floats:
    """(r, n) the rank of each of `values` (n,) in r samples that hold it `counts` (r, n) times."""
    ordered = np.sort(values)
    drawn = np.pad(counts[:, np.argsort(values)].cumsum(axis=1), ((0, 0), (1, 0)))
    below = drawn[:, np.searchsorted(ordered, values, "left")]
    up_to = drawn[:, np.searchsorted(ordered, values, "right")]
    return np.asarray((below + up_to + 1) / 2)


def _weighted_pearson(x: Floats, y: Floats, weights: Floats) -> Floats:
    """(r,) the weighted correlation of each row; 0 where one is constant."""
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    covariance = (weights * x * y).sum(axis=1)
    spread = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    zeros = np.zeros_like(covariance)
    correlation: Floats = np.divide(covariance, spread, out=zeros, where=spread > 1e-12)
    return correlation
