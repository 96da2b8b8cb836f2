"""Batches in pieces from one data set each."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from accelerate.data_loader import BatchSamplerShard

from finetune.training.data_loading import InterleavedBatchSampler

DATASETS = ["a"] * 17 + ["b"] * 8 + ["c"] * 3


def batches(size=8, sub_batch=4, seed=0, epoch=0, datasets=DATASETS) -> list[list[int]]:
    sampler = InterleavedBatchSampler(datasets, size, sub_batch, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize(("size", "sub_batch"), [(8, 4), (8, 0), (4, 4), (28, 2), (100, 100)])
def test_every_row_once_an_epoch(size, sub_batch):
    made = batches(size, sub_batch)
    assert sorted(row for batch in made for row in batch) == list(range(28))
    assert [len(batch) for batch in made[:-1]] == [size] * (len(made) - 1)
    assert len(InterleavedBatchSampler(DATASETS, size, sub_batch, 0)) == len(made)


def test_sub_batches_have_one_data_set():
    """17, 8 and 3 rows are 4 + 2 complete sub-batches of four, which come first; 1 and 3 remain."""
    order = [row for batch in batches() for row in batch]
    pieces = [{DATASETS[row] for row in order[start : start + 4]} for start in range(0, 24, 4)]
    assert all(len(piece) == 1 for piece in pieces)
    assert Counter(piece.pop() for piece in pieces) == {"a": 4, "b": 2}
    assert Counter(DATASETS[row] for row in order[24:]) == {"a": 1, "c": 3}


def test_without_sub_batches_data_sets_mix():
    order = [DATASETS[row] for batch in batches(sub_batch=0) for row in batch]
    turns = sum(a != b for a, b in pairwise(order))
    assert turns > 7  # in pieces of four, there are at most 7 borders


def test_seed_and_epoch_decide_the_order():
    assert batches(seed=3, epoch=2) == batches(seed=3, epoch=2)
    assert len({str(batches(seed=s, epoch=e)) for s in range(3) for e in range(3)}) == 9


def test_sub_batches_differ_in_each_epoch():
    """Not only the order of the sub-batches changes, but their rows too."""
    first, second = ({frozenset(batch) for batch in batches(4, 4, epoch=epoch)} for epoch in (0, 1))
    assert first != second


def weighted(weights, sub_batch=4, epoch=0, datasets=DATASETS, size=8) -> list[list[int]]:
    sampler = InterleavedBatchSampler(datasets, size, sub_batch, 0, weights)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_data_sets_are_drawn_by_weight():
    """The small data set comes as often as its weight says, not as its size; it begins again only
    when all of its rows were used."""
    datasets = ["large"] * 1900 + ["small"] * 100
    made = weighted({"large": 0.25, "small": 0.75}, 4, datasets=datasets)
    order = [row for batch in made for row in batch]
    names = [datasets[row] for row in order]
    pieces = [set(names[start : start + 4]) for start in range(0, 2000, 4)]
    assert len(order) == 2000 and all(len(piece) == 1 for piece in pieces)
    assert 0.68 < names.count("small") / 2000 < 0.82
    small = [row for row in order if datasets[row] == "small"]
    assert [len(set(small[start : start + 100])) for start in range(0, 1300, 100)] == [100] * 13
    large = [row for row in order if datasets[row] == "large"]
    assert len(set(large)) == len(large)


def test_weighted_batches_differ_by_epoch_and_repeat():
    weights = {"a": 0.2, "b": 0.2, "c": 0.6}
    assert weighted(weights) == weighted(weights)
    assert weighted(weights, epoch=1) != weighted(weights)
    assert [len(batch) for batch in weighted(weights)] == [8, 8, 8, 4]
    alone = weighted({"a": 0.0, "b": 0.0, "c": 1.0})
    assert {DATASETS[row] for batch in alone for row in batch} == {"c"}


def test_processes_share_weighted_batches():
    """Two processes with half the size hold the same rows in every step."""
    datasets, weights = DATASETS[:24], {"a": 0.5, "b": 0.5}
    whole = weighted(weights, datasets=datasets)
    halves = [
        list(BatchSamplerShard(InterleavedBatchSampler(datasets, 4, 4, 0, weights), 2, index))
        for index in (0, 1)
    ]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


def test_processes_take_turns():
    """Two processes with batches of half the size hold the same rows in every step."""
    whole = batches(size=8, sub_batch=4, datasets=DATASETS[:24])
    halves = [
        list(BatchSamplerShard(InterleavedBatchSampler(DATASETS[:24], 4, 4, 0), 2, index))
        for index in (0, 1)
    ]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


def test_the_last_step_is_filled_for_every_process():
    """28 rows are three steps of eight and one of four: the second process repeats rows."""
    halves = [
        list(BatchSamplerShard(InterleavedBatchSampler(DATASETS, 4, 4, 0), 2, index))
        for index in (0, 1)
    ]
    assert [len(half) for half in halves] == [4, 4]
    assert all(len(batch) == 4 for half in halves for batch in half)
    assert {row for half in halves for batch in half for row in batch} == set(range(28))
