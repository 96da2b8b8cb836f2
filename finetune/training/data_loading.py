"""Which pairs share a batch, and what one training step computes.

Every input goes through `backbone.prepare`, `process` and `collate`, as it does when it is embedded
later: there is no second prompt code. An input that a batch holds twice is computed once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from blake3 import blake3
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import Tensor
from torch.utils.data import SequentialSampler

from embedder.engine import Backbone, Batch, default_worker_count, plan_batches
from embedder.types import Role
from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.training.presets import HardNegatives


class InterleavedBatchSampler(DefaultBatchSampler):
    """Batches of sub-batches, each from one data set.

    VLM2Vec-V2 (https://arxiv.org/abs/2507.04590, section 4.2): inputs from one data set are hard
    negatives for each other, and a batch of many sub-batches does not favor one task.

    Without weights, an epoch has all rows once. With weights, the data set of each sub-batch is
    drawn at random, and one whose rows are used up begins again; an epoch has as many batches.

    Processes take batches in turns: with half the size and two of them, a step holds the same rows.
    Only the last batch of an epoch may be shorter; several processes fill it with the first rows.
    """

    def __init__(
        self,
        datasets: Sequence[str],
        size: int,
        sub_batch: int,
        seed: int,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """`datasets`: each row's. `sub_batch`: rows of one data set in sequence; 0 mixes them.
        `weights`: of each data set; they add up to 1."""
        super().__init__(SequentialSampler(datasets), batch_size=size, drop_last=False)
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row, dataset in enumerate(datasets):
            self._rows[dataset if sub_batch or weights else ""].append(row)
        self._weights = [weights[dataset] for dataset in self._rows] if weights else []
        self._sub_batch, self._seed, self._count = sub_batch or 1, seed, len(datasets)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self.epoch])
        order = self._draw_by_weight(rng) if self._weights else self._shuffle_all(rng)
        for start in range(0, self._count, self.batch_size):
            yield order[start : start + self.batch_size]

    def _shuffle_all(self, rng: np.random.Generator) -> list[int]:
        size, sub_batches = self._sub_batch, []
        for rows in self._rows.values():
            order = rng.permutation(rows).tolist()
            sub_batches += [order[start : start + size] for start in range(0, len(order), size)]
        rng.shuffle(sub_batches)
        sub_batches.sort(key=lambda rows: len(rows) < size)  # incomplete ones come last
        return [row for rows in sub_batches for row in rows]

    def _draw_by_weight(self, rng: np.random.Generator) -> list[int]:
        datasets, order = list(self._rows.values()), []
        rest: list[list[int]] = [[] for _ in datasets]
        for index in rng.choice(len(datasets), size=self._count, p=self._weights):
            while len(rest[index]) < self._sub_batch:
                rest[index] += rng.permutation(datasets[index]).tolist()
            order += rest[index][: self._sub_batch]
            del rest[index][: self._sub_batch]
            if len(order) >= self._count:
                break
        return order[: self._count]

    def __len__(self) -> int:
        return math.ceil(self._count / self.batch_size)


@dataclass(frozen=True, slots=True)
class MiniBatches:
    """Mini-batches, in main memory until they are computed: the images of a large step need not fit
    on the device together. What moves a step's tensors there does not look inside."""

    batches: Sequence[Batch]


class StepInputs(TypedDict):
    """One process's share of a step. Inputs are numbered in the order of the mini-batches."""

    mini_batches: MiniBatches
    queries: Tensor  # (q,) int64: inputs
    documents: Tensor  # (d,) int64: inputs; the positives in the order of the queries come first
    owners: Tensor  # (h,) int64: the rows of the queries that the hard negatives belong to
    query_keys: Tensor  # (q,) int64: content
    document_keys: Tensor  # (d,) int64
    items: Tensor  # (q,) int64: what the pairs are about; 0 where unknown


class Collator:
    """Rows of the data -> a step. The trainer calls it, perhaps in processes of its own."""

    valid_label_columns: Sequence[str] = ()  # the trainer asks for them

    def __init__(
        self,
        pairs: Sequence[Pair],
        backbone: Backbone[Any],
        content_keys: ContentKeys,
        hard_negatives: HardNegatives,
        max_tokens: int,
        *,
        negatives: int = 0,
        cache: bool = False,
    ) -> None:
        """`max_tokens`: of a mini-batch. `negatives`: of each pair, as in `Recipe`. `cache`: keep
        prepared inputs in memory for the next epoch."""
        self._pairs, self._backbone, self._content_keys = pairs, backbone, content_keys
        self._hard_negatives, self._max_tokens = hard_negatives, max_tokens
        self._negatives = negatives
        self._cache: dict[tuple[Side, Role], Any] | None = {} if cache else None

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> StepInputs:
        pairs = [self._pairs[row["row"]] for row in rows]
        use_hard = self._hard_negatives != "none"
        hard = [
            (row, side)
            for row, pair in enumerate(pairs)
            for side in select_negatives(pair.negatives, self._negatives)
            if use_hard
        ]
        documents = [pair.positive for pair in pairs] + [side for _, side in hard]
        inputs: list[tuple[Side, Role]] = [(pair.query, "query") for pair in pairs]
        inputs += [(document, "document") for document in documents]
        unique = list(dict.fromkeys(inputs))
        batches, order = self._mini_batches(unique)
        number_of = {unique[index]: number for number, index in enumerate(order)}
        keys = [self._content_keys.hash_side(side) for side, _ in inputs]
        count = len(pairs)
        return {
            "mini_batches": MiniBatches(batches),
            "queries": torch.tensor([number_of[one] for one in inputs[:count]]),
            "documents": torch.tensor([number_of[one] for one in inputs[count:]]),
            "owners": torch.tensor([row for row, _ in hard], dtype=torch.int64),
            "query_keys": torch.tensor(keys[:count]),
            "document_keys": torch.tensor(keys[count:]),
            "items": torch.tensor([hash_item(pair.item) for pair in pairs]),
        }

    def _mini_batches(self, inputs: Sequence[tuple[Side, Role]]) -> tuple[list[Batch], list[int]]:
        """The mini-batches, and the indices of the `inputs` in the order they have there."""
        backbone, batches = self._backbone, []
        with ThreadPoolExecutor(default_worker_count()) as pool:
            prepared = list(pool.map(self._prepare, inputs))
            plan = plan_batches([backbone.bucket(one) for one in prepared], self._max_tokens)
            for indices in plan:
                items = [prepared[index] for index in indices]
                batches.append(backbone.collate(items, list(pool.map(backbone.process, items))))
        return batches, [index for indices in plan for index in indices]

    def _prepare(self, key: tuple[Side, Role]) -> Any:
        if self._cache is not None and key in self._cache:
            return self._cache[key]
        side, role = key
        item = side.to_input(self._backbone.card.image_side)
        prepared = self._backbone.prepare(item, role, side.instruction)
        if self._cache is not None:
            self._cache[key] = prepared
        return prepared


def select_negatives(negatives: Sequence[Side], count: int) -> Sequence[Side]:
    """Cut to `count`, or repeat the last one, as mmE5's authors do; 0 leaves them as they are."""
    missing = count - len(negatives) if count and negatives else 0
    return [*negatives, *[negatives[-1]] * missing] if missing > 0 else negatives[: count or None]


def hash_item(item: str) -> int:
    """63 bits of an item's name; 0 for none."""
    return int.from_bytes(blake3(item.encode()).digest(8), "big") >> 1 if item else 0
