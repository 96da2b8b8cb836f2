"""InfoNCE over a batch whose inputs are never in memory together.

The loss is InfoNCE (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748, eq. 4). The losses
of the three papers are this one with different candidates and temperatures: E5-V takes all
positives and all hard negatives of a batch (tau 0.05), VLM2Vec all positives (tau 0.02), mmE5 all
positives and a query's own hard negatives (tau 0.02).

A document that is known to be relevant to a query anywhere in the data, or that is about the
query's own item, is a false negative and masked. A document that is in the batch twice counts once;
only what fills up a pair's hard negatives counts again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin, RandContext
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from embedder.engine import Batch
from finetune.data.pairs import ContentKeys, Pair
from finetune.training.data_loading import StepInputs
from finetune.training.distributed import all_gather_variable, world_size
from finetune.training.presets import Recipe

Keys = NDArray[np.int64]
Mask = NDArray[np.bool_]


class KnownPositives:
    """The relevant documents of each query in all of the data, by content."""

    def __init__(self, pairs: Sequence[Pair], content_keys: ContentKeys) -> None:
        self._positives: dict[int, set[int]] = defaultdict(set)
        for pair in pairs:
            query = content_keys.hash_side(pair.query)
            self._positives[query].add(content_keys.hash_side(pair.positive))

    def matches(self, queries: Keys, documents: Keys) -> Mask:
        """(q, d): whether the document is known to be relevant to the query, or is the query."""
        columns: dict[int, list[int]] = defaultdict(list)
        for column, key in enumerate(documents.tolist()):
            columns[key].append(column)
        mask = np.zeros((len(queries), len(documents)), dtype=np.bool_)
        for row, key in enumerate(queries.tolist()):
            for document in (self._positives.get(key, set()) | {key}) & columns.keys():
                mask[row, columns[document]] = True
        return mask


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
        recipe: Recipe,
        autocast: torch.dtype | None = None,
    ) -> None:
        """`penalty` is added to the loss. Of `recipe` the temperature, the hard negatives,
        `matryoshka` and `both_ways` are used. `autocast`: the dtype to compute in, None for the
        weights' own."""
        super().__init__()
        self.embedder = embedder  # the trainer would replace a child called `model` by its wrapper
        self._known_positives, self._penalty = known_positives, penalty
        self._recipe, self._autocast = recipe, autocast

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
        count, temperature = len(step["queries"]), self._recipe.temperature
        documents = rows[step["documents"]]
        queries = all_gather_variable(rows[step["queries"]])
        positives = all_gather_variable(documents[:count])
        candidates = torch.cat([positives, all_gather_variable(documents[count:])])
        forward_mask, backward_mask = self._candidate_masks(step)
        dims = sorted({*self._recipe.matryoshka, rows.shape[1]})
        loss = info_nce(queries, candidates, forward_mask, temperature, dims)
        if self._recipe.both_ways:
            loss = (loss + info_nce(positives, queries, backward_mask, temperature, dims)) / 2
        return loss

    def _candidate_masks(self, step: StepInputs) -> tuple[Tensor, Tensor]:
        """Which candidates each query has, (queries, documents) of all processes, and which each
        positive has, (positives, queries)."""
        count = len(step["queries"])
        query_keys, items, positive_keys, hard_keys, owners = (
            all_gather_variable(values).cpu().numpy()
            for values in (
                step["query_keys"],
                step["items"],
                step["document_keys"][:count],
                step["document_keys"][count:],
                step["owners"] + _first_query_row(step),
            )
        )
        document_keys, total = np.concatenate([positive_keys, hard_keys]), len(query_keys)
        document_items = np.pad(items, (0, len(hard_keys)))
        known = self._known_positives.matches(query_keys, document_keys)
        candidates = np.ones((total, len(document_keys)), dtype=np.bool_)
        if self._recipe.hard_negatives == "own":
            candidates[:, total:] = owners == np.arange(total)[:, None]
        forward = mask_candidates(candidates, known, document_keys, items, document_items)
        if self._recipe.negatives:
            count_repeated(forward[:, total:], hard_keys, owners)
        every = np.ones((total, total), dtype=np.bool_)
        backward = mask_candidates(every, known[:, :total].T, query_keys, items, items)
        device = step["query_keys"].device
        return torch.from_numpy(forward).to(device), torch.from_numpy(backward).to(device)

    def _embed(self, batch: Batch) -> Tensor:
        device = self.embedder.device
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        with torch.autocast(device.type, self._autocast, enabled=self._autocast is not None):
            rows: Tensor = self.embedder(moved)["sentence_embedding"]
        return rows.float()


def info_nce(
    queries: Tensor,
    documents: Tensor,
    candidate_mask: Tensor,
    temperature: float,
    dims: Sequence[int] = (),
) -> Tensor:
    """The mean cross-entropy of each query's positive among its candidates.

    `queries` (q, dim) and `documents` (d, dim) of any norm; the positives come first, in the order
    of the queries. `candidate_mask` (q, d) bool, True for the positives. With `dims`, the mean over
    vectors truncated to each of them (Kusupati et al. 2022, https://arxiv.org/abs/2205.13147, with
    equal weights).
    """
    target = torch.arange(len(queries), device=queries.device)
    losses = []
    for dim in dims or [queries.shape[1]]:
        rows, columns = (F.normalize(part[:, :dim], dim=1) for part in (queries, documents))
        logits = (rows @ columns.T / temperature).masked_fill(~candidate_mask, float("-inf"))
        losses.append(F.cross_entropy(logits, target))
    return torch.stack(losses).mean()


def mask_candidates(
    candidates: Mask,
    known_positives: Mask,
    document_keys: Keys,
    query_items: Keys,
    document_items: Keys,
) -> Mask:
    """(q, d): the `candidates` without false negatives and duplicates.

    Each query's own positive, the document in the column of the query's row, always stays. Items of
    0 are unknown and match nothing.
    """
    items = query_items[:, None]
    same_item = (items == document_items[None]) & (items != 0)
    mask = drop_duplicates(candidates & ~known_positives & ~same_item, document_keys)
    np.fill_diagonal(mask, True)
    return mask


def drop_duplicates(mask: Mask, keys: Keys) -> Mask:
    """`mask` with only the first document of each key in each row."""
    out = mask.copy()
    values, counts = np.unique(keys, return_counts=True)
    for key in values[counts > 1]:
        columns = np.flatnonzero(keys == key)
        out[:, columns] &= out[:, columns].cumsum(axis=1) == 1
    return out


def count_repeated(mask: Mask, keys: Keys, owners: Keys) -> None:
    """Let a hard negative that is repeated to fill up a pair's count as often as it is repeated, as
    in mmE5's authors' loss. Changes the columns of the hard negatives in `mask`."""
    repeated = (keys[1:] == keys[:-1]) & (owners[1:] == owners[:-1])
    for column in np.flatnonzero(repeated) + 1:
        mask[:, column] = mask[:, column - 1]


def _scale_by_world_size(loss: Tensor) -> Tensor:
    """Each process has the gradients of its own rows only. The trainer averages them over the
    processes, and the sum is wanted; the value of the loss stays."""
    world = world_size()
    return loss if world == 1 else loss * world - (loss * (world - 1)).detach()


def _first_query_row(step: StepInputs) -> int:
    """The row of this process's first query among those of all processes."""
    if world_size() == 1:
        return 0
    rank = torch.distributed.get_rank()
    ranks = all_gather_variable(torch.full_like(step["queries"], rank))
    return int((ranks < rank).sum())
