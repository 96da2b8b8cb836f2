"""The loss of a step whose inputs never stand in memory together.

GradCache (Gao et al. 2021, https://arxiv.org/abs/2101.06983): embed all mini-batches without
gradients, take the loss's gradient with respect to the embeddings, then embed each mini-batch again
and send its share of that gradient on. The gradients are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import RandContext
from torch import Tensor, nn

from embedder.engine.backbone import Batch
from finetune.training.collator import StepInputs, to_numpy
from finetune.training.distributed import all_gather_variable, world_size
from finetune.training.loss import matryoshka_info_nce
from finetune.training.negatives import (
    HardNegatives,
    KnownPositives,
    mask_candidates,
    mask_hard_negatives,
)


class CachedContrastiveLoss(nn.Module):
    """`finetune.training.loss` over a step, as a loss of sentence-transformers' trainer."""

    def __init__(
        self,
        embedder: SentenceTransformer,
        false_negatives: KnownPositives,
        penalty: Callable[[], Tensor | None],
        *,
        temperature: float,
        hard_negatives: HardNegatives,
        dims: Sequence[int],
        symmetric: bool,
        autocast: torch.dtype | None = None,
    ) -> None:
        """`dims`: lengths of vectors that count as much as the whole. `both_ways`: each positive
        must find its query among the batch's queries as well."""
        super().__init__()
        self.embedder = embedder  # not `model`: the trainer would put its wrapper in that place
        self._false_negatives, self._penalty = false_negatives, penalty
        self._temperature, self._hard = temperature, hard_negatives
        self._dims, self._both_ways, self._autocast = tuple(dims), symmetric, autocast

    def forward(self, step: StepInputs, labels: Tensor | None = None) -> Tensor:
        loss = self._cached_loss(step)
        penalty = self._penalty() if torch.is_grad_enabled() else None
        return loss if penalty is None else loss + penalty

    def _cached_loss(self, step: StepInputs) -> Tensor:
        parts = step["parts"].batches
        if not torch.is_grad_enabled() or len(parts) == 1:
            rows = torch.cat([self._embed(part) for part in parts])
            return self._scale_by_world_size(self.loss_of_rows(rows, step))
        states, rows = self._embed_without_gradients(parts)
        leaf = rows.requires_grad_()
        loss = self._scale_by_world_size(self.loss_of_rows(leaf, step))
        (gradient,) = torch.autograd.grad(loss, leaf)
        out: Any = loss.detach().requires_grad_()
        out.register_hook(partial(self._backward_mini_batches, parts, states, gradient))
        return out  # type: ignore[no-any-return]

    def _embed_without_gradients(self, parts: Sequence[Batch]) -> tuple[list[RandContext], Tensor]:
        """All rows without gradients, and the random state before each mini-batch: dropout must
        fall alike in the second pass."""
        states, rows = [], []
        with torch.no_grad():
            for part in parts:
                states.append(RandContext(torch.empty(0, device=self.embedder.device)))
                rows.append(self._embed(part))
        return states, torch.cat(rows)

    def loss_of_rows(self, rows: Tensor, step: StepInputs) -> Tensor:
        """The loss over what all processes have embedded; `rows` (n, dim) are this one's."""
        queries, positives, hard = _gather_rows(rows, step)
        forth, back = self._masks(step)
        documents = torch.cat([positives, hard])
        dims = sorted({*self._dims, rows.shape[1]})
        own = torch.arange(len(queries), device=rows.device)
        loss = matryoshka_info_nce(queries, documents, own, forth, self._temperature, dims)
        if not self._both_ways:
            return loss
        return (
            loss + matryoshka_info_nce(positives, queries, own, back, self._temperature, dims)
        ) / 2

    def _masks(self, step: StepInputs) -> tuple[Tensor, Tensor]:
        """Which candidates each query has, (queries, documents) of all processes, and which each
        positive has, (positives, queries)."""
        count = len(step["queries"])
        first = _first_query_row(step, count)
        query_keys, query_items = (
            all_gather_variable(step["query_keys"]),
            all_gather_variable(step["query_items"]),
        )
        owner = step["owner"][count:] + first
        document_keys = _gather_documents(step["document_keys"], count)
        document_items = _gather_documents(step["document_items"], count)
        total = len(query_keys)
        owners = torch.cat([torch.full_like(query_keys, -1), all_gather_variable(owner)])
        queries, documents = to_numpy(query_keys), to_numpy(document_keys)
        asking, answering = to_numpy(query_items), to_numpy(document_items)
        known, own = (
            self._false_negatives.matches(queries, documents),
            to_numpy(torch.arange(total)),
        )
        candidates = mask_hard_negatives(to_numpy(owners), total, self._hard)
        forth = mask_candidates(candidates, known, documents, asking, answering, own)
        every, right = np.ones((total, total), dtype=np.bool_), known[:, :total].T
        back = mask_candidates(every, right, queries, answering[:total], asking, own)
        device = query_keys.device
        return torch.from_numpy(forth).to(device), torch.from_numpy(back).to(device)

    def _scale_by_world_size(self, loss: Tensor) -> Tensor:
        """Each process has the gradients of its own rows only; the trainer takes their mean over
        the processes, and their sum is wanted. The value is not changed."""
        return (
            loss
            if world_size() == 1
            else loss * world_size() - (loss * (world_size() - 1)).detach()
        )

    def _embed(self, part: Batch) -> Tensor:
        device = self.embedder.device
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in part.items()}
        with torch.autocast(device.type, self._autocast, enabled=self._autocast is not None):
            rows: Tensor = self.embedder(moved)["sentence_embedding"]
        return rows.float()

    def _backward_mini_batches(
        self,
        parts: Sequence[Batch],
        states: Sequence[RandContext],
        row_gradients: Tensor,
        grad_output: Tensor,
    ) -> None:
        start = 0
        with torch.enable_grad():
            for state, part in zip(states, parts, strict=True):
                with state:
                    rows = self._embed(part)
                share = row_gradients[start : start + len(rows)] * grad_output
                rows.backward(share)  # type: ignore[no-untyped-call]
                start += len(rows)


def _gather_rows(rows: Tensor, step: StepInputs) -> tuple[Tensor, Tensor, Tensor]:
    """The queries, positives and hard negatives of all processes."""
    count = len(step["queries"])
    documents = rows[step["documents"]]
    return (
        all_gather_variable(rows[step["queries"]]),
        all_gather_variable(documents[:count]),
        all_gather_variable(documents[count:]),
    )


def _gather_documents(values: Tensor, count: int) -> Tensor:
    """What is told of documents, of all processes: positives first, then hard negatives."""
    return torch.cat([all_gather_variable(values[:count]), all_gather_variable(values[count:])])


def _first_query_row(step: StepInputs, count: int) -> int:
    """The row of this process's first query among those of all."""
    if world_size() == 1:
        return 0
    rank = torch.distributed.get_rank()
    ranks = all_gather_variable(torch.full((count,), rank, device=step["queries"].device))
    return int((ranks < rank).sum())
