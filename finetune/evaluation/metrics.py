"""Metrics of rankings, computed by ir-measures (https://ir-measur.es) with trec_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import FinetuneError

RECALL_METRICS = ("recall@1", "recall@5", "recall@10", "recall@50")
HIT_METRICS = ("hit@1", "hit@5", "hit@10")
RANK_METRICS = ("ndcg@10", "map", "mrr")
SPEARMAN = "spearman"
"""The one metric that a single query does not have; see bootstrap.py."""


@dataclass(frozen=True, slots=True)
class JudgedRanking:
    """The grades of a query's relevant documents, and the documents ranked for it, best first."""

    relevant: Mapping[int, int]
    ranking: Sequence[int]


def compute_metrics(
    rankings: Sequence[JudgedRanking], metrics: Sequence[str]
) -> list[dict[str, float]]:
    """Compute `metrics` for each query, in 0..1.

    recall@k: the share of the relevant documents in the first k. hit@k: 1 if there is any, which
    papers on Flickr30K and COCO call recall. precision@k: the share of the first k that is
    relevant. ndcg@k: grades are gains, discounted by log2(1 + rank). map: the mean precision at
    the relevant documents; a missing one counts 0. mrr: 1 / the rank of the first relevant one.

    Raises:
        FinetuneError: A metric is unknown.
    """
    import ir_measures

    names = {_parse_metric(name): name for name in metrics if name != SPEARMAN}
    qrels = {
        str(n): {str(document): grade for document, grade in judged.relevant.items()}
        for n, judged in enumerate(rankings)
    }
    # ranks as scores: trec_eval would break ties of scores by the documents' names
    run = {
        str(n): {
            str(document): -float(rank)
            for rank, document in enumerate(_cut_after_last_relevant(judged))
        }
        for n, judged in enumerate(rankings)
    }
    values: list[dict[str, float]] = [dict.fromkeys(names.values(), 0.0) for _ in rankings]
    if names:
        for value in ir_measures.iter_calc(list(names), qrels, run):
            values[int(value.query_id)][names[value.measure]] = float(value.value)
    return values


def _cut_after_last_relevant(judged: JudgedRanking) -> Sequence[int]:
    """Documents below the last relevant one change no metric."""
    last = max((n for n, one in enumerate(judged.ranking) if one in judged.relevant), default=0)
    return judged.ranking[: last + 1]


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
