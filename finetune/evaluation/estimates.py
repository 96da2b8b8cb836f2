"""Metrics of many answers together with intervals, and differences of two models with p values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.evaluation.bootstrap import (
    Floats,
    bootstrap_means,
    clopper_pearson,
    compute_p_value,
    encode_clusters,
    percentile_interval,
    sign_flip,
)
from finetune.evaluation.metrics import SPEARMAN
from finetune.evaluation.query_results import QueryResult
from finetune.evaluation.spearman import bootstrap_spearman, permute_spearman, spearman_correlation


@dataclass(frozen=True, slots=True)
class MetricEstimate:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MetricChange:
    """A metric of two models on the same questions; `low` and `high` are the 95 % interval of
    `difference`, `p` the chance of one as large where neither model is better."""

    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float


ResultParts = Sequence[Sequence[QueryResult]]
"""Answers in parts that count alike, whatever their sizes: one part, or the data sets."""


def estimate_metrics(parts: ResultParts, metrics: Sequence[str]) -> Mapping[str, MetricEstimate]:
    """Each metric over `parts`."""
    mean = _macro_mean([_point_estimate(part, metrics) for part in parts])
    low, high = percentile_interval(_macro_mean([_bootstrap(part, metrics) for part in parts]))
    if SPEARMAN not in metrics:
        low, high = clopper_pearson(mean, low, high, _count_clusters(parts))
    return {
        name: MetricEstimate(*map(float, (mean[n], low[n], high[n])))
        for n, name in enumerate(metrics)
    }


def compare_metrics(
    before: ResultParts, after: ResultParts, metrics: Sequence[str]
) -> Mapping[str, MetricChange]:
    """Each metric over the same questions, answered by two models. Every resample draws the same
    questions for both, so what is hard for both does not blur the difference."""
    old, new = (
        _macro_mean([_point_estimate(part, metrics) for part in parts]) for parts in (before, after)
    )
    pairs = list(zip(before, after, strict=True))
    resampled = _macro_mean([_bootstrap(b, metrics) for b in after]) - _macro_mean(
        [_bootstrap(a, metrics) for a in before]
    )
    low, high = percentile_interval(resampled)
    if SPEARMAN not in metrics:  # a difference is from -1 to 1
        shares = ((new - old + 1) / 2, (low + 1) / 2, (high + 1) / 2)
        low, high = (2 * bound - 1 for bound in clopper_pearson(*shares, _count_clusters(before)))
    p = compute_p_value(
        new - old, _macro_mean([_null_distribution(a, b, metrics) for a, b in pairs])
    )
    columns = zip(old, new, new - old, low, high, p, strict=True)
    return {
        name: MetricChange(*map(float, values))
        for name, values in zip(metrics, columns, strict=True)
    }


def _count_clusters(parts: ResultParts) -> int:
    return sum(len({answer.cluster for answer in part}) for part in parts)


def _macro_mean(parts: Sequence[Floats]) -> Floats:
    """Every part counts alike."""
    return np.asarray(np.mean(np.stack(parts), axis=0))


def _point_estimate(part: Sequence[QueryResult], metrics: Sequence[str]) -> Floats:
    if SPEARMAN in metrics:
        return np.array([spearman_correlation(_scores(part), _gold(part))])
    return np.asarray(_metric_table(part, metrics).mean(axis=0))


def _bootstrap(part: Sequence[QueryResult], metrics: Sequence[str]) -> Floats:
    if SPEARMAN in metrics:
        return bootstrap_spearman(_scores(part), _gold(part))
    return bootstrap_means(
        _metric_table(part, metrics), encode_clusters([answer.cluster for answer in part])
    )


def _null_distribution(
    before: Sequence[QueryResult], after: Sequence[QueryResult], metrics: Sequence[str]
) -> Floats:
    if SPEARMAN in metrics:
        return permute_spearman(_scores(before), _scores(after), _gold(before))
    differences = _metric_table(after, metrics) - _metric_table(before, metrics)
    return sign_flip(differences, encode_clusters([answer.cluster for answer in before]))


def _metric_table(part: Sequence[QueryResult], metrics: Sequence[str]) -> Floats:
    """(answers, metrics)"""
    return np.array([[answer.metrics[name] for name in metrics] for answer in part], np.float64)


def _scores(part: Sequence[QueryResult]) -> Floats:
    return np.array([answer.scores[0] for answer in part], np.float64)


def _gold(part: Sequence[QueryResult]) -> Floats:
    return np.array([answer.gold for answer in part], np.float64)
