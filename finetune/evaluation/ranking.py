"""Ranks documents by exact dot products, and computes metrics of the rankings.

Ties count against the relevant document. Metrics are computed by ir-measures
(https://ir-measur.es) with trec_eval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.types import Vectors
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import SPEARMAN, BenchmarkQuery

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
            pool = np.unique(candidates)
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
    is_relevant = np.isin(pool, list(query.relevant))
    lowered = np.where(is_relevant, scores - np.float32(TIE_TOLERANCE), scores)
    if query.exclude is not None:
        lowered[pool == query.exclude] = -np.inf
    top = _top_k(lowered, min(MAX_DEPTH, int(np.isfinite(lowered).sum())))
    rank = None
    if is_relevant.any():  # irrelevant documents with the best relevant one's score come first
        best = lowered[is_relevant].max()
        rank = int((lowered[~is_relevant] >= best).sum()) + 1
    return Ranking(pool[top], scores[top], rank)


def compute_metrics(
    rankings: Sequence[tuple[Mapping[int, int], Sequence[int]]], metrics: Sequence[str]
) -> list[dict[str, float]]:
    """Compute `metrics` for each query, in 0..1.

    recall@k: the share of the relevant documents in the first k. hit@k: 1 if there is any, which
    papers on Flickr30K and COCO call recall. precision@k: the share of the first k that is
    relevant. ndcg@k: grades are gains, discounted by log2(1 + rank). map: the mean precision at
    the relevant documents; a missing one counts 0. mrr: 1 / the rank of the first relevant one.

    Args:
        rankings: For each query the grades of its relevant documents, and the documents that were
            ranked for it, best first.
        metrics: Names such as recall@10; Spearman's correlation is left out.

    Raises:
        FinetuneError: A metric is unknown.
    """
    import ir_measures

    values: list[dict[str, float]] = [{} for _ in rankings]
    names = {_parse_metric(name): name for name in metrics if name != SPEARMAN}
    if not names:
        return values
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for n, (relevant, documents) in enumerate(rankings):
        values[n] = dict.fromkeys(names.values(), 0.0)
        qrels[str(n)] = {str(document): grade for document, grade in relevant.items()}
        # documents below the last relevant one change no metric
        last = max((rank for rank, one in enumerate(documents) if one in relevant), default=0)
        # ranks as scores: trec_eval would break ties of scores by the documents' names
        run[str(n)] = {str(one): -float(rank) for rank, one in enumerate(documents[: last + 1])}
    for value in ir_measures.iter_calc(list(names), qrels, run):
        values[int(value.query_id)][names[value.measure]] = float(value.value)
    return values


def _top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The positions of the `k` highest scores, best first; of equal ones, the earlier."""
    chosen = np.arange(len(scores))
    if 0 < k < len(scores):
        least = np.partition(scores, -k)[-k]
        above = np.flatnonzero(scores > least)
        tied = np.flatnonzero(scores == least)[: k - len(above)]
        chosen = np.sort(np.concatenate([above, tied]))
    order = np.argsort(-scores[chosen], kind="stable")[:k]
    return np.asarray(chosen[order], dtype=np.int64)


def _parse_metric(name: str) -> Any:
    from ir_measures import AP, RR, P, R, Success, nDCG

    family, _, depth = name.partition("@")
    without_depth = {"map": AP, "mrr": RR}
    with_depth = {"recall": R, "hit": Success, "precision": P, "ndcg": nDCG}
    if family in without_depth and not depth:
        return without_depth[family]
    if family in with_depth and depth.isdecimal() and int(depth) > 0:
        return with_depth[family] @ int(depth)
    raise FinetuneError(
        f"unknown metric {name!r}; known are recall@k, hit@k, precision@k, ndcg@k, map and mrr"
    )
