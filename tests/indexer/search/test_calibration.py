"""Calibration makes scores comparable."""

from __future__ import annotations

import stat
import time
import uuid
from dataclasses import replace

import numpy as np
import pytest

from indexer.collections.schema import make_schema
from indexer.search import calibration
from indexer.search.calibration import (
    DEFAULT_DISTRIBUTION,
    CalibrationSample,
    CalibrationSampler,
    ScoreDistribution,
    estimate_distribution,
    find_percentile,
)
from indexer.search.duplicates import estimate_crop_cosine
from indexer.types import Record, SparseVector
from tests.memory_store import open_memory_store

DIM = 8
CHANNELS = ("image", "text")


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
    assert known.score(-99) == -1.0


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


def test_the_spread_is_that_of_the_lower_half_and_of_a_default():
    """Of n cosines, the sigma below the median weighs n, and the default of 0.1 weighs 8."""
    cosines = np.linspace(0, 0.4, 101)
    known = estimate_distribution(np.concatenate([cosines, cosines[:50]]))
    assert known.median == pytest.approx(0.2)
    assert known.spread == pytest.approx((101 * 0.4 * (0.5 - 0.1587) + 8 * 0.1) / 109)
    assert estimate_distribution(np.array([0.1, 0.2, 0.10001])) == DEFAULT_DISTRIBUTION
    assert estimate_distribution(np.array([0.1, 0.2, 0.3])).median == pytest.approx(0.2)


def test_a_sample_is_valid_for_a_day_and_a_tenth_of_the_points():
    nothing = np.zeros((0, DIM), np.float32)
    tokens = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    sample = CalibrationSample(
        vectors={"image": nothing},
        present={"image": np.zeros(0, bool)},
        tokens=tokens,
        points=100,
        sampled_at=time.time(),
    )
    assert [sample.is_valid(points) for points in (89, 90, 110, 111)] == [False, True, True, False]
    ages = {23 * 3600: True, 25 * 3600: False, -3600: False}
    for age, valid in ages.items():
        assert replace(sample, sampled_at=time.time() - age).is_valid(100) is valid


def add_points(store, start: int, count: int) -> None:
    """Images, of which every third has a text; word number 5 is in every fifth."""
    rng = np.random.default_rng(start)
    for i in range(start, start + count):
        image, text = unit_rows(rng, 2, DIM)
        vectors = {"image": image} | ({} if i % 3 else {"text": text})
        vectors |= {} if i % 5 else {"bm25": SparseVector((5, 9), (1.0, 2.0))}
        store.upsert([Record(str(uuid.UUID(int=i + 1)), vectors, {"kind": "image"})])


@pytest.fixture
def store():
    store = open_memory_store(make_schema(DIM))
    add_points(store, 0, 30)
    return store


def test_a_sample_has_what_the_points_have(store):
    sample = CalibrationSampler(store, CHANNELS, DIM)()
    assert (sample.size, sample.points) == (30, 30)
    assert sample.present["image"].all() and sample.present["text"].sum() == 10
    query = sample.vectors["text"][sample.present["text"]][0]
    scores = sample.score("text", query)
    assert np.isnan(scores).sum() == 20 and np.nanmax(scores) == pytest.approx(1)
    found = sample.score_words(SparseVector((5, 7), (1.0, 1.0)))
    idf = np.log((30 - 6 + 0.5) / (6 + 0.5) + 1)
    assert sorted(found) == pytest.approx([0] * 24 + [idf] * 6)
    assert sample.score_words(SparseVector((9, 5), (0.5, 1.0))).max() == pytest.approx(2 * idf)
    assert sample.crop_cosine == pytest.approx(estimate_crop_cosine(sample.vectors["image"]))
    assert sample.name_trust == 1


def test_a_sample_of_many_points_is_random(store, monkeypatch):
    monkeypatch.setattr(calibration, "SAMPLE_SIZE", 10)
    drawn = [CalibrationSampler(store, CHANNELS, DIM, num_points=28)() for _ in range(5)]
    assert {(sample.size, sample.points) for sample in drawn} == {(10, 28)}
    assert len({sample.vectors["image"].tobytes() for sample in drawn}) > 1


def test_it_is_drawn_again_when_many_points_have_come(store, monkeypatch):
    sampler = CalibrationSampler(store, CHANNELS, DIM, num_points=30)
    first = sampler()
    add_points(store, 30, 20)
    assert sampler() is first  # the points are counted once a minute
    monkeypatch.setattr(calibration, "CHECK_INTERVAL_SECONDS", 0)
    second = sampler()
    assert (second.size, second.points) == (50, 50)
    add_points(store, 50, 5)
    assert sampler() is second


@pytest.mark.parametrize("damage", ["cut", "another dim", "a channel less", "no file"])
def test_a_file_that_is_not_usable_is_replaced(store, tmp_path, damage):
    folder = tmp_path / "index" / "local"
    drawn = CalibrationSampler(store, CHANNELS, DIM, folder)()
    file = folder / "calibration.npz"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = CalibrationSampler(store, CHANNELS, DIM, folder)()
    assert read.sampled_at == drawn.sampled_at and read.points == drawn.points
    for channel in CHANNELS:
        assert np.array_equal(read.present[channel], drawn.present[channel])
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:200])
        case "no file":
            file.unlink()
        case _:
            with np.load(file) as arrays:
                kept = dict(arrays)
            if damage == "another dim":
                kept["text"] = kept["text"][:, 1:]
            else:
                del kept["has_text"]
            np.savez(file, **kept)
    again = CalibrationSampler(store, CHANNELS, DIM, folder)()
    assert again.sampled_at > drawn.sampled_at
    assert CalibrationSampler(store, CHANNELS, DIM, folder)().sampled_at == again.sampled_at
