"""Calibration makes scores comparable."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.search.calibration import (
    ScoreDistribution,
    estimate_distribution,
    find_percentile,
)


def unit_rows(rng, count, dim=64):
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_relevant_minority_does_not_move_the_distribution():
    rng = np.random.default_rng(0)
    query = unit_rows(rng, 1)[0]
    noise = unit_rows(rng, 1000)
    relevant = unit_rows(rng, 200) * 0.3 + query
    relevant /= np.linalg.norm(relevant, axis=1, keepdims=True)
    plain, mixed = (
        estimate_distribution(noise @ query),
        estimate_distribution(np.concatenate([noise, relevant]) @ query),
    )
    assert abs(plain.median - mixed.median) < plain.spread / 2
    assert mixed.spread < 1.4 * plain.spread


def test_a_single_channel_keeps_its_cosine():
    known = ScoreDistribution(0.2, 0.05)
    assert known.score(known.z(0.43)) == pytest.approx(0.43)
    assert known.score(99) == 1.0


@pytest.mark.parametrize("count", [1, 2, 93, 1000])
def test_percentiles_are_those_of_numpy(count):
    values = np.random.default_rng(count).standard_normal(count)
    for percent in (0.0, 15.87, 50.0, 99.0, 100.0):
        assert find_percentile(values, percent) == pytest.approx(np.percentile(values, percent))


def test_files_that_share_a_name_count_once():
    """The spread of forty equal cosines and three others would be nothing."""
    rng = np.random.default_rng(3)
    few = np.concatenate([np.full(400, 0.1), rng.normal(0.1, 0.1, 100)])
    assert estimate_distribution(few).spread == pytest.approx(0.1, rel=0.4)
