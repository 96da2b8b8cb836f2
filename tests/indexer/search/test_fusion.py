"""Fusion puts points with and without captions and names on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.search.bm25 import build_document_vector, build_query_vector
from indexer.search.calibration import (
    CalibrationSample,
    ScoreDistribution,
    find_percentile,
    measure_name_fit,
)
from indexer.search.fusion import PartFusion, _estimate_lifts, combine, fit_fusion
from indexer.types import SparseVector

POINTS, DIM = 1000, 48
NO_WORDS = SparseVector((), ())


def unit_rows(rng, count):
    rows = rng.standard_normal((count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_sample(rng, *, captioned=0.0, named=0.0, fitting=0.0, words=()) -> CalibrationSample:
    """`fitting` is how much of a name's vector is that of its image."""
    present = {
        "image": np.ones(POINTS, dtype=bool),
        "text": rng.random(POINTS) < captioned,
        "name": rng.random(POINTS) < named,
    }
    vectors = {
        name: np.where(mask[:, None], unit_rows(rng, POINTS), 0) for name, mask in present.items()
    }
    named_images = fitting * vectors["image"] + (1 - fitting) * vectors["name"]
    norms = np.linalg.norm(named_images, axis=1, keepdims=True)
    vectors["name"] = np.where(present["name"][:, None], named_images / np.maximum(norms, 1e-9), 0)
    sparse = [build_document_vector([(text, None)]) for text in words]
    tokens = (
        np.repeat(np.arange(len(sparse)), [len(one.indices) for one in sparse]),
        np.array([i for one in sparse for i in one.indices], dtype=np.int64),
        np.array([v for one in sparse for v in one.values]),
    )
    return CalibrationSample(
        vectors=vectors, present=present, tokens=tokens, points=POINTS, sampled_at=0.0
    )


def test_evidence_adds_in_nats():
    missing = np.array([np.nan])
    for a, b, expected in ((3, 4, 5), (3, -2, 3), (-1, -2, -1), (3, missing, 3), (missing, 2, 2)):
        assert combine(np.array([a]), np.array([b])).item() == pytest.approx(expected)


def fuse(*, lifts=(), words_lifts=(), uses_text=True, **scores) -> float:
    """One point: cosines of which 0.1 is a z of 1, names that count 0.7, and a reach of 2."""
    changed = [np.ones(8), np.ones(8)]
    for lift, changes in zip(changed, (lifts, words_lifts), strict=True):
        for kind, value in changes:
            lift[kind] = value
    fusion = PartFusion(
        distributions={c: ScoreDistribution(0.0, 0.1) for c in ("image", "text", "name")},
        uses_text=uses_text,
        lifts=changed[0],
        words_lifts=changed[1],
        reach=2.0,
        name_weight=0.7,
        sample_z=np.zeros(0),
    )
    channels = {c: np.array([scores.get(c, np.nan)]) for c in ("image", "text", "name")}
    if "bm25" in scores:
        channels["bm25"] = np.array([scores["bm25"]])
    return fusion.fuse(channels).item()


@pytest.mark.parametrize(
    ("point", "z"),
    [
        ({"image": 0.3}, 3),
        ({"image": -0.3}, -3),
        ({"image": 0.3, "text": 0.4}, 5),
        ({"image": -0.3, "text": 0.4}, 4),
        ({"image": -0.3, "text": -0.2}, -2),
        ({}, -np.inf),
        # a name adds its part, and no more than the reach to what the image shows
        ({"image": 0.1, "name": 0.4}, np.hypot(1, 2.8)),
        ({"image": 0.1, "name": 0.9}, np.hypot(1, 3)),
        ({"image": -0.1, "name": 0.9}, 2),
        ({"image": 0.1, "text": 0.1, "name": 0.4}, np.hypot(1, 2.8)),
        ({"image": 0.1, "text": 0.3, "name": 0.4}, np.hypot(1, 3)),
        # words: 8 nats are a z of 4
        ({"image": 0.3, "bm25": 8}, 5),
        ({"text": 0.1, "bm25": 8}, 4),
        ({"image": 0.3, "text": 0.5, "bm25": 8}, np.hypot(3, 5)),
        ({"image": 0.3, "text": 0.1, "bm25": 0}, np.hypot(3, 1)),
        ({"image": 0.1, "name": 0.1, "bm25": 50}, np.hypot(1, 3)),
        ({"image": 0.05, "name": 0.1, "bm25": 50}, np.hypot(0.5, 2.5)),
        ({"image": 0.1, "name": 0.1, "text": 0.1, "bm25": 50}, np.hypot(1, 10)),
        ({"bm25": 50}, 10),
        # a query by image looks at texts only where there is no image
        ({"uses_text": False, "image": 0.3, "text": 0.9, "name": 0.9, "bm25": 50}, 3),
        ({"uses_text": False, "text": 0.4}, 4),
        # lifts divide what speaks for a point: those of meaning by its kind, then those of words
        ({"lifts": [(3, 2)], "image": 0.3, "text": 0.4}, 2.5),
        ({"lifts": [(3, 2)], "image": -0.3, "text": -0.4}, -3),
        ({"lifts": [(5, 2)], "image": 0.1, "name": 0.4}, np.hypot(1, 2.8) / 2),
        ({"lifts": [(3, 2)], "image": 0.3, "text": 0.1, "bm25": 8}, 5),
        ({"words_lifts": [(3, 2)], "image": 0.3, "text": 0.1, "bm25": 8}, 2.5),
        ({"lifts": [(3, 2)], "words_lifts": [(3, 5)], "image": 0.3, "text": 0.4}, 0.5),
    ],
)  # fmt: skip
def test_the_z_of_a_point(point, z):
    assert fuse(**point) == pytest.approx(z)


@pytest.mark.parametrize(
    ("rows", "reached", "lift"),
    [
        (0, 8, 1.5),  # the prior
        (200, 8, (4 * 1.5) ** 0.5),  # as much as the prior: their geometric mean
        (50, 1, 0.5**0.2 * 1.5**0.8),
        (50, -1, 3.5**-0.2 * 1.5**0.8),
        (200, 1, 1),  # never below 1
        (1800, 20, 3.5),  # nor above 3.5
    ],
)
def test_lifts_by_hand(rows, reached, lift):
    fused, kinds = np.full(rows + 10, float(reached)), np.full(rows + 10, 3)
    kinds[:10] = 1
    lifts = _estimate_lifts(fused, kinds, 2.0, (9, 9, 1, 1.5, 1, 1.2, 1, 1.5))
    assert lifts == pytest.approx([1, 1, 1, lift, 1, 1.2, 1, 1.5])
    assert (_estimate_lifts(fused, kinds, 0.0, (9,) * 8) == 1).all()


def test_what_is_fitted_to_a_sample():
    """Later points are fused as those of the sample are, words included."""
    rng = np.random.default_rng(15)
    words = [*["red car"] * 30, *["green car"] * 970]
    sample = make_sample(rng, captioned=0.4, named=0.3, fitting=0.15, words=words)
    query, terms = unit_rows(rng, 1)[0], build_query_vector("red")
    fusion = fit_fusion(sample, query, terms, uses_text=True)
    images = fusion.distributions["image"].z(sample.score("image", query))
    assert fusion.reach == pytest.approx(find_percentile(images, 99.0))
    assert 0 < sample.name_trust < 1
    assert fusion.name_weight == pytest.approx(0.7 * sample.name_trust)
    scores = {channel: sample.score(channel, query) for channel in ("image", "text", "name")}
    scores["bm25"] = sample.score_words(terms)
    np.testing.assert_allclose(fusion.fuse(scores), fusion.sample_z)
    without = fit_fusion(sample, query, NO_WORDS, uses_text=True)
    assert (fusion.sample_z[:30] > without.sample_z[:30]).mean() > 0.9
    assert without.lifts[5] >= 1 and without.lifts[[0, 1]].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["captioned", "named"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_unrelated_points_reach_as_high_whatever_is_known_about_them(kind, share):
    """Without the lift, 83 to 90 % of the best would be captioned, where half of the points are."""
    rng = np.random.default_rng(7)
    sample = make_sample(rng, **{kind: share}, fitting=0.4)
    assert sample.name_trust == 1
    known = sample.present["text"] | sample.present["name"]
    among_best = [
        known[np.argsort(-fit_fusion(sample, query, NO_WORDS, uses_text=True).sample_z)[:10]].mean()
        for query in unit_rows(rng, 60)
    ]
    assert np.mean(among_best) == pytest.approx(known.mean(), abs=0.12)


def test_a_caption_that_is_right_wins_over_the_best_of_the_images():
    rng = np.random.default_rng(8)
    sample = make_sample(rng, captioned=0.5)
    for row in np.flatnonzero(sample.present["text"])[:20]:
        query = sample.vectors["text"][row]
        assert np.argmax(fit_fusion(sample, query, NO_WORDS, uses_text=True).sample_z) == row


def test_where_all_are_captioned_the_order_is_that_of_the_sum():
    rng = np.random.default_rng(9)
    sample = make_sample(rng, captioned=1.0)
    query = unit_rows(rng, 1)[0]
    fusion = fit_fusion(sample, query, NO_WORDS, uses_text=True)
    image, text = (fusion.distributions[c].z(sample.score(c, query)) for c in ("image", "text"))
    summed = combine(image, text)
    assert np.array_equal(np.argsort(fusion.sample_z), np.argsort(summed))
    assert fusion.lifts[5] == pytest.approx(1.2)  # of named points, of which there are none


def test_a_name_alone_is_no_reason_for_a_first_place():
    rng = np.random.default_rng(10)
    sample = make_sample(rng, named=0.5, fitting=0.4)
    misnamed = np.flatnonzero(sample.present["name"])[:40]
    sample.vectors["name"][misnamed] = unit_rows(rng, 40)
    firsts, ranks = [], []
    for row in misnamed:
        query = sample.vectors["name"][row]
        z = fit_fusion(sample, query, NO_WORDS, uses_text=True).sample_z
        if sample.score("image", query)[row] < 0:
            firsts.append(np.argmax(z) == row)
        ranks.append((z > z[row]).sum())
    assert len(firsts) > 10
    assert not any(firsts)
    assert np.median(ranks) < POINTS / 20, "but it helps"


def test_an_image_query_takes_images_by_sight_alone():
    rng = np.random.default_rng(11)
    sample = make_sample(rng, captioned=0.5, named=0.5)
    query = sample.vectors["image"][3]  # an exact copy is there
    fusion = fit_fusion(sample, query, NO_WORDS, uses_text=False)
    cosines = sample.score("image", query)
    shown = [fusion.distributions["image"].score(z) for z in fusion.sample_z]
    assert shown == pytest.approx(list(cosines))
    assert np.argmax(fusion.sample_z) == 3
    assert np.isfinite(fusion.sample_z).all()


def test_words_count_by_how_rare_they_are():
    rng = np.random.default_rng(12)
    words = ["red zeppelin", *["red car"] * 500, *["green car"] * 499]
    sample = make_sample(rng, words=words)
    found = sample.score_words(build_query_vector("red zeppelin"))
    assert np.argmax(found) == 0
    assert found[0] > 5 > found[1] > 0 == found[-1]


@pytest.mark.parametrize(("fitting", "trusted"), [(0.4, True), (0.0, False)])
def test_names_that_fit_no_image_take_nothing_from_what_images_show(fitting, trusted):
    """They count as words, in a query that has them."""
    rng = np.random.default_rng(13)
    sample = make_sample(rng, named=0.5, fitting=fitting)
    named, losses = sample.present["name"], []
    for query in unit_rows(rng, 20):
        fusion = fit_fusion(sample, query, NO_WORDS, uses_text=True)
        shown = fusion.distributions["image"].z(sample.score("image", query))
        losses.append((shown - fusion.sample_z)[named].max() / shown.max())
        scores = {channel: sample.score(channel, query) for channel in ("image", "text", "name")}
        np.testing.assert_allclose(fusion.fuse(scores), fusion.sample_z)
    assert sample.name_trust == 1 if trusted else sample.name_trust < 0.15
    assert np.mean(losses) > 0.07 if trusted else np.mean(losses) < 0.04


def test_names_of_other_images_are_found_out():
    rng = np.random.default_rng(14)
    fits = [
        measure_name_fit(make_sample(rng, named=1.0, fitting=fitting)) for fitting in (0, 0.2, 0.5)
    ]
    assert fits[0] == pytest.approx(0.5, abs=0.08)
    assert fits[0] < fits[1] < fits[2]
    assert fits[2] > 0.95
    assert measure_name_fit(make_sample(rng)) == 1
