"""Which pairs share a batch: sub-batches, each from one data set, in turns.

VLM2Vec-V2 (https://arxiv.org/abs/2507.04590, section 4.2): what comes from one set makes hard
negatives for each other, and a batch of many sub-batches does not lean to one task.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler


class InterleavedBatchSampler(DefaultBatchSampler):
    """Batches of `size` rows, all rows once an epoch, each epoch in an order of its own.

    Processes take batches in turns: with half the size and two of them, a step holds the same rows.
    Only the last of an epoch may be shorter, which is filled up with the first rows where there are
    several processes.
    """

    def __init__(self, datasets: Sequence[str], size: int, sub_batch: int, seed: int) -> None:
        """`datasets`: each row's; `sub_batch`: rows of one set in a piece, 0: no matter which."""
        super().__init__(SequentialSampler(datasets), batch_size=size, drop_last=False)
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, dataset in enumerate(datasets):
            self._rows[dataset if sub_batch else ""].append(row)
        self._piece, self._seed, self._count = sub_batch or 1, seed, len(datasets)

    def __iter__(self) -> Iterator[list[int]]:
        draw = np.random.default_rng([self._seed, self.epoch])
        pieces = [piece for rows in self._rows.values() for piece in self._split(rows, draw)]
        draw.shuffle(pieces)
        pieces.sort(key=lambda piece: len(piece) < self._piece)  # broken pieces break up no batch
        order = [row for piece in pieces for row in piece]
        for start in range(0, self._count, self.batch_size):
            yield order[start : start + self.batch_size]

    def __len__(self) -> int:
        return math.ceil(self._count / self.batch_size)

    def _split(self, rows: Sequence[int], draw: np.random.Generator) -> list[list[int]]:
        order = draw.permutation(rows).tolist()
        return [order[start : start + self._piece] for start in range(0, len(order), self._piece)]
