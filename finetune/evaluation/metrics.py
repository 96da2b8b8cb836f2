"""Metrics of rankings, through ir-measures (https://ir-measur.es), which asks trec_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import FinetuneError

RECALL_METRICS = ("recall@1", "recall@5", "recall@10", "recall@50")
HIT_METRICS = ("hit@1", "hit@5", "hit@10")
RANK_METRICS = ("ndcg@10", "map", "mrr")
SPEARMAN = "spearman"
"""The one metric that a single question does not have: `correlation.py`."""


@dataclass(frozen=True, slots=True)
class JudgedRanking:
    """A question's grades by document, and the documents that were found for it, best first."""

    relevant: Mapping[int, int]
    ranking: Sequence[int]


def compute_metrics(
    rankings: Sequence[JudgedRanking], metrics: Sequence[str]
) -> list[dict[str, float]]:
    """For each question the value of each of `metrics`, 0..1. Raises `FinetuneError`.

    recall@k: the share of the relevant documents among the first k. hit@k: 1 if any is there, which
    is what papers on Flickr30K and COCO call recall. precision@k: the share of the first k that is
    relevant. ndcg@k: grades are gains, over log2(1 + place). map: mean of the precisions at the
    relevant documents, a missing one counts 0. mrr: 1 / the first relevant one's place.
    """
    import ir_measures

    names = {_parse_metric(name): name for name in metrics if name != SPEARMAN}
    qrels = {
        str(n): {str(document): grade for document, grade in answer.relevant.items()}
        for n, answer in enumerate(rankings)
    }
    # places as scores: trec_eval would break ties of scores by the documents' names
    run = {
        str(n): {
            str(document): -float(place)
            for place, document in enumerate(_cut_after_last_relevant(answer))
        }
        for n, answer in enumerate(rankings)
    }
    values: list[dict[str, float]] = [dict.fromkeys(names.values(), 0.0) for _ in rankings]
    if names:
        for one in ir_measures.iter_calc(list(names), qrels, run):
            values[int(one.query_id)][names[one.measure]] = float(one.value)
    return values


def _cut_after_last_relevant(judged: JudgedRanking) -> Sequence[int]:
    """What is found, down to the last relevant document: what is below it changes no metric."""
    last = max((n for n, one in enumerate(judged.ranking) if one in judged.relevant), default=0)
    return judged.ranking[: last + 1]


def _parse_metric(name: str) -> Any:
    from ir_measures import AP, RR, P, R, Success, nDCG

    family, _, depth = name.partition("@")
    whole = {"map": AP, "mrr": RR}
    cut = {"recall": R, "hit": Success, "precision": P, "ndcg": nDCG}
    if family in whole and not depth:
        return whole[family]
    if family in cut and depth.isdecimal() and int(depth) > 0:
        return cut[family] @ int(depth)
    raise FinetuneError(
        f"no metric is called {name!r}; there are recall@k, hit@k, precision@k, ndcg@k, map and mrr"
    )
