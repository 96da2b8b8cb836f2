"""From pairs to what one step computes: inputs made ready, in mini-batches by their cost.

Every input goes through `backbone.prepare`, `process` and `collate`, as it does when it is embedded
later: there is no second prompt code. An input that a batch holds twice is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from embedder.engine.backbone import Backbone, Batch
from embedder.engine.batching import plan_batches
from embedder.engine.engine import default_worker_count
from embedder.types import Role
from finetune.data.content_keys import ContentKeys
from finetune.data.pairs import Pair, Side
from finetune.training.negatives import HardNegatives, hash_item


@dataclass(frozen=True, slots=True)
class MiniBatches:
    """Mini-batches, in main memory until their turn: the pictures of a large step need not fit on
    the device together. What moves a step's tensors there does not look into this."""

    batches: Sequence[Batch]


class StepInputs(TypedDict):
    """One process's share of a step. Inputs are numbered as `parts` bring them."""

    parts: MiniBatches
    queries: Tensor  # (q,) int64: inputs
    documents: Tensor  # (d,) int64: inputs; the positives in the order of the queries come first
    owner: Tensor  # (d,) int64: of a hard negative, its query's row; -1 for positives
    query_keys: Tensor  # (q,) int64: what they say
    document_keys: Tensor  # (d,) int64
    query_items: Tensor  # (q,) int64: what they are about; 0: nothing that has a name
    document_items: Tensor  # (d,) int64


class Collator:
    """Rows of the data -> a step. The trainer calls it, perhaps in processes of its own."""

    valid_label_columns: Sequence[str] = ()  # the trainer asks for them; there are none

    def __init__(
        self,
        pairs: Sequence[Pair],
        backbone: Backbone[Any],
        identities: ContentKeys,
        hard_negatives: HardNegatives,
        max_tokens: int,
        *,
        cache: bool = False,
    ) -> None:
        """`tokens`: the most that a mini-batch may compute. `keep` what is made ready in memory,
        for the next epoch."""
        self._pairs, self._backbone, self._identities = pairs, backbone, identities
        self._hard, self._tokens = hard_negatives, max_tokens
        self._cache: dict[tuple[Side, Role], Any] | None = {} if cache else None

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> StepInputs:
        pairs = [self._pairs[row["row"]] for row in rows]
        hard = [(r, n) for r, p in enumerate(pairs) for n in p.negatives if self._hard != "none"]
        documents = [pair.positive for pair in pairs] + [side for _, side in hard]
        items = [hash_item(pair.item) for pair in pairs]
        inputs: list[tuple[Side, Role]] = [(pair.query, "query") for pair in pairs]
        inputs += [(document, "document") for document in documents]
        unique = list(dict.fromkeys(inputs))
        batches, order = self._mini_batches(unique)
        index_of = {unique[index]: number for number, index in enumerate(order)}
        keys = [self._identities.hash_side(side) for side, _ in inputs]
        count = len(pairs)
        return {
            "parts": MiniBatches(batches),
            "queries": torch.tensor([index_of[one] for one in inputs[:count]]),
            "documents": torch.tensor([index_of[one] for one in inputs[count:]]),
            "owner": torch.tensor([-1] * count + [row for row, _ in hard]),
            "query_keys": torch.tensor(keys[:count]),
            "document_keys": torch.tensor(keys[count:]),
            "query_items": torch.tensor(items),
            "document_items": torch.tensor(items + [0] * len(hard)),
        }

    def _mini_batches(self, inputs: Sequence[tuple[Side, Role]]) -> tuple[list[Batch], list[int]]:
        """The mini-batches, and which of the `asked` stand in them, one after the other."""
        backbone = self._backbone
        with ThreadPoolExecutor(default_worker_count()) as pool:
            ready = list(pool.map(self._prepare_cached, inputs))
            batches = plan_batches([backbone.bucket(one) for one in ready], self._tokens)
            parts = []
            for batch in batches:
                items = [ready[index] for index in batch]
                parts.append(backbone.collate(items, list(pool.map(backbone.process, items))))
        return parts, [index for batch in batches for index in batch]

    def _prepare_cached(self, key: tuple[Side, Role]) -> Any:
        if self._cache is None:
            return self._prepare(*key)
        if key not in self._cache:
            self._cache[key] = self._prepare(*key)
        return self._cache[key]

    def _prepare(self, side: Side, role: Role) -> Any:
        ready = side.to_input(self._backbone.card.image_side)
        return self._backbone.prepare(ready, role, side.instruction)


def to_numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = tensor.cpu().numpy()
    return array
