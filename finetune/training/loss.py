"""InfoNCE (van den Oord et al. 2018, https://arxiv.org/abs/1807.03748, eq. 4) over a batch.

The losses of the three papers are this one, with different candidates and temperatures: E5-V takes
all positives and all hard negatives of a batch (tau 0.05), VLM2Vec all positives (tau 0.02), mmE5
all positives and a query's own hard negatives (tau 0.02).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def info_nce(
    queries: Tensor, documents: Tensor, positive: Tensor, candidate_mask: Tensor, temperature: float
) -> Tensor:
    """The mean cross-entropy of each query's positive among the documents it is allowed.

    `queries` (q, dim) and `documents` (d, dim) of any length; `positive` (q,) columns, which are
    allowed; `allowed` (q, d) bool.
    """
    scores = F.normalize(queries, dim=1) @ F.normalize(documents, dim=1).T  # (q, d)
    logits = (scores / temperature).masked_fill(~candidate_mask, float("-inf"))
    return F.cross_entropy(logits, positive)


def matryoshka_info_nce(
    queries: Tensor,
    documents: Tensor,
    positive: Tensor,
    candidate_mask: Tensor,
    temperature: float,
    dims: Sequence[int],
) -> Tensor:
    """The mean of the loss over vectors cut to each of `dims` (Kusupati et al. 2022,
    https://arxiv.org/abs/2205.13147, with equal weights)."""
    losses = [
        info_nce(queries[:, :dim], documents[:, :dim], positive, candidate_mask, temperature)
        for dim in dims
    ]
    return torch.stack(losses).mean()
