"""Order points of equal score at random, as a Qdrant server does."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models
from qdrant_client.local import local_collection
from qdrant_client.local.local_collection import reciprocal_rank_fusion


class _Numpy:
    """numpy, but for an order of sorting in which ties are shuffled."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def argsort(scores: NDArray[np.float32]) -> NDArray[np.intp]:
        return np.lexsort((np.random.permutation(len(scores)), scores))


def _fuse(
    responses: list[list[models.ScoredPoint]], limit: int = 10, *more: Any, **named: Any
) -> list[models.ScoredPoint]:
    fused = reciprocal_rank_fusion(responses, sum(map(len, responses)), *more, **named)
    random.shuffle(fused)
    return sorted(fused, key=lambda point: -point.score)[:limit]


def shuffle_ties() -> None:
    """In every local engine of this process, so in those that tests compare with too."""
    local_collection.np = _Numpy()
    local_collection.reciprocal_rank_fusion = _fuse
