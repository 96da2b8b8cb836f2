"""InfoNCE over a batch whose inputs are never in memory together.

The loss is InfoNCE (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748, eq. 4). The losses
of the three papers are this one with different candidates and temperatures: E5-V takes all
positives and all hard negatives of a batch (tau 0.05), VLM2Vec all positives (tau 0.02), mmE5 all
positives and a query's own hard negatives (tau 0.02).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin, RandContext
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from embedder.engine import Batch
from finetune.training.data_loading import StepInputs
from finetune.training.distributed import all_gather_variable, world_size
from finetune.training.negatives import (
    HardNegatives,
    KnownPositives,
    mask_candidates,
    mask_hard_negatives,
)


class CachedContrastiveLoss(CachedLossMixin, nn.Module):
    """InfoNCE with GradCache, as a loss of sentence-transformers' trainer.

    GradCache (Gao et al. 2021, https://arxiv.org/abs/2101.06983): embed all mini-batches without
    gradients, take the loss's gradient with respect to the embeddings, then embed each mini-batch
    again and propagate its share of that gradient. sentence-transformers' `CachedLossMixin` runs
    the passes. It would cut one batch into mini-batches of equal size; here the collator has cut it
    by cost, and each mini-batch is a column of its own.
    """

    mini_batch_size = 1 << 30  # not used: a column is one mini-batch

    def __init__(
        self,
        embedder: SentenceTransformer,
        known_positives: KnownPositives,
        penalty: Callable[[], Tensor | None],
        *,
        temperature: float,
        hard_negatives: HardNegatives,
        dims: Sequence[int] = (),
        symmetric: bool = False,
        autocast: torch.dtype | None = None,
    ) -> None:
        """`penalty` is added to the loss. `dims`: shorter vectors whose loss counts as much as that
        of the whole. `symmetric`: each positive must find its query as well. `autocast`: the dtype
        to compute in, None for the weights' own."""
        super().__init__()
        self.embedder = embedder  # the trainer would replace a child called `model` by its wrapper
        self._known_positives, self._penalty = known_positives, penalty
        self._temperature, self._hard_negatives = temperature, hard_negatives
        self._dims, self._symmetric, self._autocast = tuple(dims), symmetric, autocast

    @property
    def model(self) -> SentenceTransformer:
        """What `CachedLossMixin` asks for."""
        return self.embedder

    def forward(self, step: StepInputs, labels: Tensor | None = None) -> Tensor:
        batches: Sequence[Any] = step["mini_batches"].batches
        if len(batches) == 1:
            loss = _scale_by_world_size(self.loss_of_rows(self._embed(batches[0]), step))
        else:
            loss = self.forward_cached(batches, cast(Any, step))
        penalty = self._penalty() if torch.is_grad_enabled() else None
        return loss if penalty is None else loss + penalty

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss over the embeddings of all mini-batches; `labels` is the step."""
        rows = torch.cat([row for column in reps for row in column])
        loss = _scale_by_world_size(self.loss_of_rows(rows, labels))
        if not with_backward:
            return loss
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def embed_minibatch_iter(
        self,
        sentence_feature: Batch,
        with_grad: bool,
        copy_random_state: bool,
        random_states: list[RandContext] | None = None,
        ranges: Any = None,
    ) -> Iterator[tuple[Tensor, RandContext | None]]:
        """Embed one column, which is a whole mini-batch."""
        replay = random_states[0] if random_states else nullcontext()
        with replay, torch.set_grad_enabled(with_grad):
            device = torch.empty(0, device=self.embedder.device)  # whose random state is kept
            state = RandContext(device) if copy_random_state else None
            rows = self._embed(sentence_feature)
        yield rows, state

    def loss_of_rows(self, rows: Tensor, step: StepInputs) -> Tensor:
        """The loss over the rows of all processes; `rows` (n, dim) are this one's."""
        count = len(step["queries"])
        documents = rows[step["documents"]]
        queries = all_gather_variable(rows[step["queries"]])
        positives = all_gather_variable(documents[:count])
        hard_negatives = all_gather_variable(documents[count:])
        forward_mask, backward_mask = self._candidate_masks(step)
        dims = sorted({*self._dims, rows.shape[1]})
        candidates = torch.cat([positives, hard_negatives])
        loss = matryoshka_info_nce(queries, candidates, forward_mask, self._temperature, dims)
        if not self._symmetric:
            return loss
        other = matryoshka_info_nce(positives, queries, backward_mask, self._temperature, dims)
        return (loss + other) / 2

    def _candidate_masks(self, step: StepInputs) -> tuple[Tensor, Tensor]:
        """Which candidates each query has, (queries, documents) of all processes, and which each
        positive has, (positives, queries)."""
        count = len(step["queries"])
        owner = all_gather_variable(step["owner"][count:] + _first_query_row(step))
        query_keys, query_items, document_keys, document_items = (
            _to_numpy(values)
            for values in (
                all_gather_variable(step["query_keys"]),
                all_gather_variable(step["query_items"]),
                _gather_documents(step["document_keys"], count),
                _gather_documents(step["document_items"], count),
            )
        )
        total = len(query_keys)
        owners = np.concatenate([np.full(total, -1), _to_numpy(owner)])
        known = self._known_positives.matches(query_keys, document_keys)
        candidates = mask_hard_negatives(owners, total, self._hard_negatives)
        forward = mask_candidates(candidates, known, document_keys, query_items, document_items)
        every = np.ones((total, total), dtype=np.bool_)
        items = document_items[:total]
        backward = mask_candidates(every, known[:, :total].T, query_keys, items, query_items)
        device = step["query_keys"].device
        return torch.from_numpy(forward).to(device), torch.from_numpy(backward).to(device)

    def _embed(self, batch: Batch) -> Tensor:
        device = self.embedder.device
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        with torch.autocast(device.type, self._autocast, enabled=self._autocast is not None):
            rows: Tensor = self.embedder(moved)["sentence_embedding"]
        return rows.float()


def info_nce(
    queries: Tensor, documents: Tensor, candidate_mask: Tensor, temperature: float
) -> Tensor:
    """The mean cross-entropy of each query's positive among its candidates.

    `queries` (q, dim) and `documents` (d, dim) of any norm; the positives come first, in the order
    of the queries. `candidate_mask` (q, d) bool, True for the positives.
    """
    scores = F.normalize(queries, dim=1) @ F.normalize(documents, dim=1).T  # (q, d)
    logits = (scores / temperature).masked_fill(~candidate_mask, float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(queries), device=queries.device))


def matryoshka_info_nce(
    queries: Tensor,
    documents: Tensor,
    candidate_mask: Tensor,
    temperature: float,
    dims: Sequence[int],
) -> Tensor:
    """The mean of `info_nce` over vectors truncated to each of `dims` (Kusupati et al. 2022,
    https://arxiv.org/abs/2205.13147, with equal weights)."""
    losses = [
        info_nce(queries[:, :dim], documents[:, :dim], candidate_mask, temperature) for dim in dims
    ]
    return torch.stack(losses).mean()


def _scale_by_world_size(loss: Tensor) -> Tensor:
    """Each process has the gradients of its own rows only. The trainer averages them over the
    processes, and the sum is wanted; the value of the loss stays."""
    world = world_size()
    return loss if world == 1 else loss * world - (loss * (world - 1)).detach()


def _gather_documents(values: Tensor, count: int) -> Tensor:
    """Values of the documents of all processes: positives first, then hard negatives."""
    return torch.cat([all_gather_variable(values[:count]), all_gather_variable(values[count:])])


def _first_query_row(step: StepInputs) -> int:
    """The row of this process's first query among those of all processes."""
    if world_size() == 1:
        return 0
    rank = torch.distributed.get_rank()
    ranks = all_gather_variable(torch.full_like(step["queries"], rank))
    return int((ranks < rank).sum())


def _to_numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = tensor.cpu().numpy()
    return array
