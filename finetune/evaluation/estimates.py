"""Metrics of many answers together with intervals, and differences of two models with p values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.evaluation.answers import Answer
from finetune.evaluation.correlation import spearman, spearman_replicates, spearman_tossed
from finetune.evaluation.metrics import SPEARMAN
from finetune.evaluation.statistics import (
    Floats,
    codes,
    flipped,
    interval,
    p_value,
    replicates,
    unanimous,
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Change:
    """A metric of two models on the same questions; `low` and `high` are the 95 % interval of
    `difference`, `p` the chance of one as large where neither model is better."""

    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float


Parts = Sequence[Sequence[Answer]]
"""Answers in parts that count alike, whatever their sizes: one part, or the data sets."""


def estimates(parts: Parts, metrics: Sequence[str]) -> Mapping[str, Estimate]:
    """Each metric over `parts`."""
    mean = _mean([_point(part, metrics) for part in parts])
    low, high = interval(_mean([_drawn(part, metrics) for part in parts]))
    if SPEARMAN not in metrics:
        low, high = unanimous(mean, low, high, _items(parts))
    return {
        name: Estimate(*map(float, (mean[n], low[n], high[n]))) for n, name in enumerate(metrics)
    }


def changes(before: Parts, after: Parts, metrics: Sequence[str]) -> Mapping[str, Change]:
    """Each metric over the same questions, answered by two models. Every resample draws the same
    questions for both, so what is hard for both does not blur the difference."""
    old, new = (_mean([_point(part, metrics) for part in parts]) for parts in (before, after))
    pairs = list(zip(before, after, strict=True))
    drawn = _mean([_drawn(b, metrics) for b in after]) - _mean([_drawn(a, metrics) for a in before])
    low, high = interval(drawn)
    if SPEARMAN not in metrics:  # a difference is from -1 to 1
        shares = ((new - old + 1) / 2, (low + 1) / 2, (high + 1) / 2)
        low, high = (2 * bound - 1 for bound in unanimous(*shares, _items(before)))
    p = p_value(new - old, _mean([_by_chance(a, b, metrics) for a, b in pairs]))
    columns = zip(old, new, new - old, low, high, p, strict=True)
    return {
        name: Change(*map(float, values)) for name, values in zip(metrics, columns, strict=True)
    }


def _items(parts: Parts) -> int:
    return sum(len({answer.cluster for answer in part}) for part in parts)


def _mean(parts: Sequence[Floats]) -> Floats:
    """Every part counts alike."""
    return np.asarray(np.mean(np.stack(parts), axis=0))


def _point(part: Sequence[Answer], metrics: Sequence[str]) -> Floats:
    if SPEARMAN in metrics:
        return np.array([spearman(_scores(part), _gold(part))])
    return np.asarray(_table(part, metrics).mean(axis=0))


def _drawn(part: Sequence[Answer], metrics: Sequence[str]) -> Floats:
    if SPEARMAN in metrics:
        return spearman_replicates(_scores(part), _gold(part))
    return replicates(_table(part, metrics), codes([answer.cluster for answer in part]))


def _by_chance(before: Sequence[Answer], after: Sequence[Answer], metrics: Sequence[str]) -> Floats:
    if SPEARMAN in metrics:
        return spearman_tossed(_scores(before), _scores(after), _gold(before))
    differences = _table(after, metrics) - _table(before, metrics)
    return flipped(differences, codes([answer.cluster for answer in before]))


def _table(part: Sequence[Answer], metrics: Sequence[str]) -> Floats:
    """(answers, metrics)"""
    return np.array([[answer.metrics[name] for name in metrics] for answer in part], np.float64)


def _scores(part: Sequence[Answer]) -> Floats:
    return np.array([answer.scores[0] for answer in part], np.float64)


def _gold(part: Sequence[Answer]) -> Floats:
    return np.array([answer.gold for answer in part], np.float64)
