"""Ranks documents by exact dot products; ties count against the relevant document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.types import Vectors
from finetune.evaluation.benchmark import BenchmarkQuery

MAX_DEPTH = 1000  # documents in a ranking, as in trec_eval; the rest counts as not found
TIE_TOLERANCE = 1e-6  # of a cosine; float32 dot products of one pair vary less than this
MAX_SCORES = 1 << 24  # scores in memory at once, 64 MiB


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best documents for a query."""

    documents: NDArray[np.int64]  # (k,) indices, best first
    scores: NDArray[np.float32]  # (k,) cosines
    rank: int | None  # of the first relevant document among all candidates, from 1


def rank_queries(
    query_vectors: Vectors, queries: Sequence[BenchmarkQuery], document_vectors: Vectors
) -> Iterator[tuple[int, Ranking]]:
    """Yield the index of a query and its ranking; queries with the same candidates come together.

    A relevant document must beat an irrelevant one by more than `TIE_TOLERANCE`: a model that
    gives everything the same vector finds nothing. Among irrelevant documents of one score, and
    among relevant ones, the earlier in the benchmark comes first.
    """
    by_candidates: dict[int, list[int]] = {}
    for index, query in enumerate(queries):
        by_candidates.setdefault(id(query.candidates), []).append(index)
    for indices in by_candidates.values():
        candidates = queries[indices[0]].candidates
        if candidates is None:
            pool, rows = np.arange(len(document_vectors)), document_vectors
        else:
            pool = np.array(sorted(set(candidates)))
            rows = document_vectors[pool]
        block_size = max(1, MAX_SCORES // max(1, len(pool)))
        for start in range(0, len(indices), block_size):
            block = indices[start : start + block_size]
            scores = query_vectors[block] @ rows.T
            for index, row in zip(block, scores, strict=True):
                yield index, rank_documents(row, pool, queries[index])


def rank_documents(
    scores: NDArray[np.float32], pool: NDArray[np.int64], query: BenchmarkQuery
) -> Ranking:
    """Rank the documents `pool` (n,), in ascending order, by `scores` (n,) float32."""
    lowered = scores.copy()
    relevant = _positions(pool, query.relevant)
    lowered[relevant] -= TIE_TOLERANCE
    lowered[_positions(pool, query.exclude)] = -np.inf
    top = _top_k(lowered, min(MAX_DEPTH, int(np.isfinite(lowered).sum())))
    rank = None
    if len(relevant):  # irrelevant documents with the best relevant one's score come first
        best = lowered[relevant].max()
        rank = int((lowered >= best).sum() - (lowered[relevant] >= best).sum()) + 1
    return Ranking(pool[top], scores[top], rank)


def _positions(pool: NDArray[np.int64], documents: object) -> NDArray[np.int64]:
    """The positions in `pool` of those of `documents` that are in it."""
    wanted = np.fromiter(documents, np.int64)  # type: ignore[call-overload]
    positions = np.searchsorted(pool, wanted)
    present = positions < len(pool)
    present[present] = pool[positions[present]] == wanted[present]
    found: NDArray[np.int64] = positions[present]
    return found


def _top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The positions of the `k` highest scores, best first; of equal ones, the earlier."""
    if k == 0:
        return np.zeros(0, np.int64)
    chosen = np.arange(len(scores))
    if k < len(scores):
        least = np.partition(scores, -k)[-k]
        above = np.flatnonzero(scores > least)
        tied = np.flatnonzero(scores == least)[: k - len(above)]
        chosen = np.sort(np.concatenate([above, tied]))
    order = np.argsort(-scores[chosen], kind="stable")
    return np.asarray(chosen[order], dtype=np.int64)
