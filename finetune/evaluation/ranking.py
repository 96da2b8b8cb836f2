"""Ranks documents for questions by exact dot products, ties counted against the right answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.types import Vectors
from finetune.evaluation.benchmark import BenchmarkQuery

MAX_DEPTH = (
    1000  # documents that a ranking lists, trec_eval's habit; what is below counts as not found
)
TIE_TOLERANCE = (
    1e-6  # of cosine; float32 dot products of one pair differ by less from block to block
)
MAX_SCORES = 1 << 24  # scores in hand, 64 MiB


@dataclass(frozen=True, slots=True)
class Ranking:
    """`found` (k,) int64: documents, best first; `scores` (k,) float32: their cosines. `rank` is
    the place of the first relevant document among all candidates, from 1; None where no document
    is relevant."""

    documents: NDArray[np.int64]
    scores: NDArray[np.float32]
    rank: int | None


def rank_queries(
    query_vectors: Vectors, queries: Sequence[BenchmarkQuery], document_vectors: Vectors
) -> Iterator[tuple[int, Ranking]]:
    """(index of a question, its ranking), questions with the same candidates together.

    A relevant document must beat an irrelevant one by more than `TIE`: a model that gives
    everything the same vector finds nothing. Among irrelevant documents of one score, and among
    relevant ones, the earlier in the benchmark comes first.
    """
    for indices in _group_by_candidates(queries):
        given = queries[indices[0]].candidates
        pool = np.arange(len(document_vectors)) if given is None else np.array(sorted(set(given)))
        rows = document_vectors if given is None else document_vectors[pool]
        block = max(1, MAX_SCORES // max(1, len(pool)))
        for start in range(0, len(indices), block):
            some = indices[start : start + block]
            for index, scores in zip(
                some, query_vectors[some] @ rows.T, strict=True
            ):  # (len(pool),)
                yield index, rank_documents(scores, pool, queries[index])


def rank_documents(
    scores: NDArray[np.float32], pool: NDArray[np.int64], query: BenchmarkQuery
) -> Ranking:
    """The ranking of documents `pool` (n,), ascending, by `scores` (n,) float32."""
    lowered = scores.copy()
    right = _positions(pool, query.relevant)
    lowered[right] -= TIE_TOLERANCE
    lowered[_positions(pool, query.exclude)] = -np.inf
    top = _top_k(lowered, min(MAX_DEPTH, int(np.isfinite(lowered).sum())))
    return Ranking(pool[top], scores[top], _first_relevant_rank(lowered, right))


def _positions(pool: NDArray[np.int64], documents: object) -> NDArray[np.int64]:
    """Where those of `documents` that are in `pool` stand there."""
    wanted = np.fromiter(documents, np.int64)  # type: ignore[call-overload]
    places = np.searchsorted(pool, wanted)
    there = places < len(pool)
    there[there] = pool[places[there]] == wanted[there]
    found: NDArray[np.int64] = places[there]
    return found


def _top_k(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The places of the `count` highest, best first; of equal ones, the earlier."""
    if count == 0:
        return np.zeros(0, np.int64)
    if count < len(scores):
        least = np.partition(scores, -count)[-count]
        above = np.flatnonzero(scores > least)
        level = np.flatnonzero(scores == least)[: count - len(above)]
        chosen = np.sort(np.concatenate([above, level]))
    else:
        chosen = np.arange(len(scores))
    order = np.argsort(-scores[chosen], kind="stable")
    return np.asarray(chosen[order], dtype=np.int64)


def _first_relevant_rank(lowered: NDArray[np.float32], right: NDArray[np.int64]) -> int | None:
    """The place of the best relevant document, from 1; irrelevant ones of its score come first."""
    if not len(right):
        return None
    best = lowered[right].max()
    return int((lowered >= best).sum() - (lowered[right] >= best).sum()) + 1


def _group_by_candidates(questions: Sequence[BenchmarkQuery]) -> Iterator[list[int]]:
    alike: dict[int, list[int]] = {}
    for index, question in enumerate(questions):
        alike.setdefault(id(question.candidates), []).append(index)
    yield from alike.values()
