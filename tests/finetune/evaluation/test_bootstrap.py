"""Intervals and p values against closed forms and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from finetune.evaluation.bootstrap import (
    MAX_CHUNK_VALUES,
    _chunk_sizes,
    bootstrap_means,
    bootstrap_spearman,
    clopper_pearson,
    compare_metrics,
    compute_p_value,
    estimate_metrics,
    percentile_interval,
    permute_spearman,
    resample_counts,
    sign_flip,
    spearman_correlation,
)
from finetune.evaluation.report import QueryResult


def column(values):
    return np.array(values, float)[:, None]


def result(cluster, hit, *, score=0.0, gold=None) -> QueryResult:
    """What one query found; only `hit@1` counts, or the score and what people say of it."""
    return QueryResult(
        id="q", direction="t2i", language=None, dataset=None, cluster=str(cluster), text="?",
        image=None, relevant=(), found=(), scores=(score,), rank=None, gold=gold,
        metrics={"hit@1": float(hit), "mrr": hit / 2},
    )  # fmt: skip


def test_each_resample_draws_all_clusters_worth():
    counts = np.concatenate(list(resample_counts(7)))
    assert counts.shape == (10_000, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean() == 1


def test_many_clusters_are_drawn_in_chunks():
    sizes = list(_chunk_sizes(1000))
    assert len(sizes) > 1 and sum(sizes) == 10_000
    assert max(sizes) * 1000 <= MAX_CHUNK_VALUES


def test_standard_error_of_a_share():
    """sqrt(p (1 - p) / n)"""
    values = column([1] * 30 + [0] * 70)
    drawn = bootstrap_means(values, np.arange(100))
    assert drawn.mean() == pytest.approx(0.3, abs=0.002)
    assert drawn.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 100), rel=0.03)
    low, high = percentile_interval(drawn)
    assert (low[0], high[0]) == pytest.approx((0.21, 0.39), abs=0.011)


def test_copies_of_a_query_do_not_narrow_the_interval():
    """Each item asked in five languages with the same outcome: as wide as with one language."""
    once = column([1] * 12 + [0] * 28)
    single = bootstrap_means(once, np.arange(40))
    five = bootstrap_means(np.repeat(once, 5, axis=0), np.repeat(np.arange(40), 5))
    naive = bootstrap_means(np.repeat(once, 5, axis=0), np.arange(200))
    assert five == pytest.approx(single)
    assert naive.std() == pytest.approx(single.std() / np.sqrt(5), rel=0.05)


def test_clusters_of_different_sizes_by_hand():
    """Two clusters, {1, 1, 1} and {0}: drawn twice the first 1, twice the second 0, both 3/4."""
    drawn = bootstrap_means(column([1, 1, 1, 0]), np.array([0, 0, 0, 1]))
    assert set(np.unique(drawn)) == {0, 0.75, 1}
    assert (drawn == 0.75).mean() == pytest.approx(0.5, abs=0.02)


def test_the_captions_of_an_image_are_one_trial():
    """An estimate of 20 images in five languages is as wide as one of 20 images in one."""
    hits = [n % 4 == 0 for n in range(20)]
    once = [result(n, hit) for n, hit in enumerate(hits)]
    metrics = ("hit@1", "mrr")
    single, five = (estimate_metrics([part], metrics) for part in (once, once * 5))
    assert five == single
    assert single["hit@1"].mean == 0.25 and single["mrr"].mean == 0.125
    assert 0.05 <= single["hit@1"].low <= 0.1 and 0.4 <= single["hit@1"].high <= 0.5
    before = [result(n, False) for n in range(20)]
    change, repeated = (
        compare_metrics([before * times], [once * times], metrics) for times in (1, 5)
    )
    assert repeated == change
    assert change["hit@1"].p == pytest.approx(2 / 32, abs=0.01)  # 5 differ, all the same way
    low, high = single["hit@1"].low, single["hit@1"].high  # the other model finds nothing
    assert (change["hit@1"].low, change["hit@1"].high) == pytest.approx((low, high))


def test_correlations_of_two_models(judged):
    before, after, gold = judged
    parts = [
        [
            result(n, False, score=s, gold=g)
            for n, (s, g) in enumerate(zip(scores, gold, strict=True))
        ]
        for scores in (before, after)
    ]
    change = compare_metrics(parts[:1], parts[1:], ["spearman"])["spearman"]
    assert change.before == pytest.approx(spearman_correlation(before, gold))
    assert change.after == pytest.approx(spearman_correlation(after, gold))
    assert change.p < 0.001 and 0 < change.low < change.difference < change.high
    same = compare_metrics(parts[1:], parts[1:], ["spearman"])["spearman"]
    assert (same.p, same.low, same.high) == (1, 0, 0)
    estimate = estimate_metrics(parts[:1], ["spearman"])["spearman"]
    low, high = percentile_interval(bootstrap_spearman(before, gold))
    assert (estimate.low, estimate.high) == pytest.approx((low[0], high[0]))


def test_where_all_captions_of_few_images_agree():
    """The bound is that of the images: 0.025^(1/4), however many captions they have."""
    found, missed = ([result(n % 4, hit) for n in range(20)] for hit in (True, False))
    estimate = estimate_metrics([found], ["hit@1"])["hit@1"]
    assert (estimate.mean, estimate.high) == (1, 1)
    assert estimate.low == pytest.approx(0.025 ** (1 / 4))
    change = compare_metrics([missed], [found], ["hit@1"])["hit@1"]
    assert (change.before, change.after, change.difference, change.high) == (0, 1, 1, 1)
    assert change.low == pytest.approx(2 * 0.025 ** (1 / 4) - 1)


def test_parts_of_all_sizes_weigh_the_same():
    parts = [[result("a", True)], [result(n, False) for n in "bcd"]]
    assert estimate_metrics(parts, ["hit@1"])["hit@1"].mean == 0.5


def test_the_interval_leaves_out_a_fortieth_at_each_end():
    low, high = percentile_interval(np.stack([np.arange(1001.0), np.zeros(1001)], axis=1))
    assert low.tolist() == [25, 0] and high.tolist() == [975, 0]


def test_coverage():
    """95 % intervals hold the truth nearly 95 times of 100."""
    chance = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        effect = chance.normal(0.5, 0.2, 60)  # an item's own level
        values = column(np.repeat(effect, 3) + chance.normal(0, 0.1, 180))
        low, high = percentile_interval(bootstrap_means(values, np.repeat(np.arange(60), 3)))
        held += bool(low[0] <= 0.5 <= high[0])
    assert 182 <= held <= 198


def test_clopper_pearson_where_all_agree():
    low, high = clopper_pearson(np.array([1.0, 0.0, 0.5]), np.array([1.0, 0.0, 0.3]),
                          np.array([1.0, 0.0, 0.7]), 10)  # fmt: skip
    exact = stats.binomtest(10, 10).proportion_ci(0.95)
    assert low.tolist() == pytest.approx([exact.low, 0, 0.3])
    assert high.tolist() == pytest.approx([1, 1 - exact.low, 0.7])


def test_sign_flip_of_ten_equal_differences():
    """All ten the same way: 2 of 2^10 patterns are as extreme."""
    differences = column([1.0] * 10)
    p = compute_p_value(differences.mean(axis=0), sign_flip(differences, np.arange(10)))
    assert p[0] == pytest.approx(2 / 1024, abs=0.0015)


def test_p_counts_what_was_observed_as_a_trial():
    """(1 + as extreme) / (1 + trials), Davison and Hinkley 1997, section 4.2: never 0."""
    null = np.array([[0.0, 0.5], [-2.0, -0.5], [1.0, 0.1]])
    assert compute_p_value(np.array([3.0, 0.5]), null).tolist() == [1 / 4, 3 / 4]


def test_one_item_in_many_languages_is_not_significant():
    differences = column([1.0] * 7)
    assert (
        compute_p_value(differences.mean(axis=0), sign_flip(differences, np.zeros(7, int)))[0] == 1
    )


def test_no_difference_is_p_1():
    assert compute_p_value(np.zeros(1), sign_flip(np.zeros((20, 1)), np.arange(20)))[0] == 1


def test_p_is_uniform_under_the_null():
    chance = np.random.default_rng(2)
    found = [
        compute_p_value(d.mean(axis=0), sign_flip(d, np.arange(30)))[0]
        for d in (chance.normal(0, 1, (30, 1)) for _ in range(150))
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_p_agrees_with_a_t_test():
    d = np.random.default_rng(3).normal(0.25, 1, (100, 1))
    p = compute_p_value(d.mean(axis=0), sign_flip(d, np.arange(100)))[0]
    assert p == pytest.approx(stats.ttest_1samp(d[:, 0], 0).pvalue, abs=0.006)


@pytest.fixture
def judged():
    """Scores of two models of 80 pairs, and people's with many ties; the second is better."""
    chance = np.random.default_rng(4)
    gold = chance.integers(0, 6, 80).astype(float)
    return gold + chance.normal(0, 3, 80), gold + chance.normal(0, 1, 80), gold


def test_spearman_equals_scipy(judged):
    before, after, gold = judged
    for scores in (before, after, gold):
        assert spearman_correlation(scores, gold) == pytest.approx(
            stats.spearmanr(scores, gold).statistic
        )
    assert spearman_correlation(np.ones(80), gold) == 0


def test_spearman_ranks_each_resample_again(judged):
    before, _, gold = judged
    drawn = bootstrap_spearman(before, gold)
    counts = next(resample_counts(80)).astype(int)
    for row in range(5):
        rows = np.repeat(np.arange(80), counts[row])
        exact = stats.spearmanr(before[rows], gold[rows]).statistic
        assert drawn[row, 0] == pytest.approx(exact)


def test_spearman_difference(judged):
    before, after, gold = judged
    seen = np.array([spearman_correlation(after, gold) - spearman_correlation(before, gold)])
    assert compute_p_value(seen, permute_spearman(before, after, gold))[0] < 0.001
    assert compute_p_value(np.zeros(1), permute_spearman(before, before, gold))[0] == 1
    null = permute_spearman(before, after, gold)
    assert abs(null.mean()) < 0.01 and 0.05 < null.std() < 0.2
