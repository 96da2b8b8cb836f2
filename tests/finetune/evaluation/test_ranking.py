"""Rankings, ties and candidates, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.data.pairs import Side
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import BenchmarkQuery
from finetune.evaluation.ranking import (
    MAX_DEPTH,
    compute_metrics,
    rank_documents,
    rank_queries,
)

SIDES = (Side(text="?"),)


def make_query(relevant, candidates=None, exclude=None):
    given = None if candidates is None else tuple(candidates)
    return BenchmarkQuery(
        id="q",
        sides=SIDES,
        relevant=relevant,
        direction="t2i",
        candidates=given,
        exclude=exclude,
    )


def rank(scores, query):
    scores = np.array(scores, np.float32)
    return rank_documents(scores, np.arange(len(scores)), query)


def test_order_and_rank():
    ranking = rank([0.1, 0.9, 0.5, 0.7], make_query({2: 1}))
    assert ranking.documents.tolist() == [1, 3, 2, 0]
    assert ranking.rank == 3
    assert ranking.scores.tolist() == pytest.approx([0.9, 0.7, 0.5, 0.1])


@pytest.mark.parametrize("relevant", [0, 1, 2, 3])
def test_ties_count_against_the_relevant_document(relevant):
    ranking = rank([0.5, 0.5, 0.5, 0.5], make_query({relevant: 1}))
    assert ranking.rank == 4
    assert ranking.documents.tolist()[3] == relevant


def test_differences_within_the_tolerance_are_ties():
    near = np.nextafter(np.float32(0.5), np.float32(1))
    assert rank([near, 0.5], make_query({0: 1})).rank == 2
    assert rank([0.5, np.float32(0.5) - np.float32(1e-6)], make_query({0: 1})).rank == 2
    assert rank([0.50001, 0.5], make_query({0: 1})).rank == 1


def test_relevant_documents_do_not_lower_each_others_rank():
    ranking = rank([0.9, 0.8, 0.8, 0.1], make_query({0: 1, 2: 1}))
    assert ranking.rank == 1
    assert ranking.documents.tolist() == [0, 1, 2, 3]


def test_excluded_documents_are_not_ranked():
    ranking = rank([0.9, 0.8, 0.7], make_query({2: 1}, exclude=0))
    assert ranking.documents.tolist() == [1, 2]
    assert ranking.rank == 2


def test_only_candidates_are_ranked_and_each_once():
    documents = np.eye(4, dtype=np.float32)
    query_vectors = np.array([[0.9, 0.1, 0.5, 0.7]], np.float32)
    ((_, ranking),) = rank_queries(query_vectors, [make_query({2: 1}, [2, 1, 2, 3])], documents)
    assert ranking.documents.tolist() == [3, 2, 1]
    assert ranking.rank == 2


def test_queries_with_different_candidates():
    documents = np.eye(3, dtype=np.float32)
    query_vectors = np.eye(3, dtype=np.float32)
    pool = (0, 1)
    queries = [make_query({0: 1}, pool), make_query({1: 1}), make_query({0: 1}, pool)]
    rankings = dict(rank_queries(query_vectors, queries, documents))
    assert sorted(rankings) == [0, 1, 2]
    assert rankings[0].documents[0] == 0 and rankings[1].documents[0] == 1
    assert set(rankings[2].documents.tolist()) == {0, 1}
    assert rankings[2].rank == 2  # 0 for both candidates
    assert [len(rankings[index].documents) for index in range(3)] == [2, 3, 2]


def test_equal_scores_are_in_the_order_of_the_benchmark():
    scores = np.tile([0.5, 0.7], 200)
    expected = [*range(1, 400, 2), *range(0, 400, 2)]
    assert rank(scores, make_query({})).documents.tolist() == expected
    assert rank(scores, make_query({})).rank is None


def test_a_long_ranking_is_cut_but_the_rank_is_exact():
    scores = np.linspace(1, 0, MAX_DEPTH + 500)
    ranking = rank(scores, make_query({MAX_DEPTH + 99: 1}))
    assert len(ranking.documents) == MAX_DEPTH
    assert ranking.documents.tolist() == list(range(MAX_DEPTH))
    assert ranking.rank == MAX_DEPTH + 100


def test_a_collapsed_model_finds_nothing():
    documents = np.tile(np.float32([[0.6, 0.8]]), (50, 1))
    query_vectors = np.float32([[0.6, 0.8]])
    ((_, ranking),) = rank_queries(query_vectors, [make_query({0: 1})], documents)
    assert ranking.rank == 50


def compute(relevant, ranking, *metrics):
    (values,) = compute_metrics([(relevant, ranking)], metrics)
    return [values[name] for name in metrics]


def test_recall_hit_and_precision_with_several_relevant_documents():
    assert compute({1: 1, 2: 1}, [1, 0, 2], "recall@1", "recall@3", "hit@1", "precision@1",
               "precision@3") == pytest.approx([0.5, 1, 1, 1, 2 / 3])  # fmt: skip
    assert compute({1: 1}, [0, 1], "recall@1", "hit@1", "precision@1") == [0, 0, 0]


def test_map_and_mrr_by_hand():
    """Relevant ones at ranks 1 and 3: (1/1 + 2/3) / 2; a third is not found: over 3."""
    assert compute({5: 1, 6: 1}, [5, 0, 6], "map", "mrr") == pytest.approx([(1 + 2 / 3) / 2, 1])
    assert compute({5: 1, 6: 1, 7: 1}, [0, 5, 6], "map", "mrr") == pytest.approx(
        [(1 / 2 + 2 / 3) / 3, 1 / 2]
    )


def test_ndcg_with_grades_by_hand():
    """Gains 1 and 3 at ranks 1 and 2, ideally 3 and 1."""
    got = 1 + 3 / np.log2(3)
    ideal = 3 + 1 / np.log2(3)
    assert compute({1: 1, 2: 3}, [1, 2, 0], "ndcg@10") == pytest.approx([got / ideal])


def test_document_names_do_not_change_the_order():
    """Document names do not break ties: 10 stays before 9 and 2."""
    assert compute({2: 1}, [10, 9, 2], "mrr") == pytest.approx([1 / 3])


def test_an_empty_ranking_scores_zero():
    assert compute({2: 1}, [], "recall@5", "mrr") == [0, 0]


def test_unknown_metric():
    with pytest.raises(FinetuneError, match="recall@k"):
        compute_metrics([({1: 1}, [1])], ["f1"])
