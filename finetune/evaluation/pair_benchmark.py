"""The user's own pairs as a benchmark, and the comparison at the end of a training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedder.types import Embedder
from finetune.data.content_keys import ContentKeys
from finetune.data.pairs import Pair, Side
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.comparison import Comparison
from finetune.evaluation.evaluate import compare, evaluate
from finetune.evaluation.metrics import HIT_METRICS, RANK_METRICS, RECALL_METRICS

MAIN_METRIC = "recall@10"

PoolKey = tuple[str, str, str | None]
"""Documents that are ranked together: their kind and data set; captions also by language."""


def benchmark_from_pairs(
    pairs: Sequence[Pair],
    name: str,
    source: str,
    distractors: Iterable[Pair] = (),
    reverse: bool = False,
) -> Benchmark:
    """A benchmark whose questions are the queries of `pairs` and whose documents are their
    positives and negatives, and those of `among` besides. Raises `DataError`.

    Queries of equal content are one question with several right answers, in each language that they
    are tagged with. A question is answered from all documents of the kind that its answers are; a
    picture's words, from those in its own language. The query's own content is never an answer to
    it unless the pairs say so. With `reverse`, each pair is asked the other way round too.
    """
    builder = _BenchmarkBuilder()
    given = [*pairs, *map(reverse_pair, pairs)] if reverse else list(pairs)
    for pair in given:
        builder.add_pair(pair)
    for pair in distractors:
        builder.add_distractors(pair)
    questions = builder.build_queries()
    several = any(len(question.relevant) > 1 for question in questions)
    metrics = (*RECALL_METRICS, *(HIT_METRICS if several else ()), *RANK_METRICS)
    return Benchmark(name, source, MAIN_METRIC, metrics, questions, tuple(builder.documents.sides))


def compare_on(
    pairs: Sequence[Pair],
    before: Embedder,
    after: Embedder,
    out: Path,
    name: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measure two models on `pairs` and write the folder of the comparison into `out`.

    Raises `FinetuneError`, `EmbedderError`, `OSError`.
    """
    benchmark = benchmark_from_pairs(pairs, name, name)
    first, second = (evaluate(model, benchmark, progress=progress) for model in (before, after))
    return compare(first, second, out)


def reverse_pair(pair: Pair) -> Pair:
    """What was looked for asks; instructions and negatives were for the other way."""
    query, positive = (replace(s, instruction=None) for s in (pair.query, pair.positive))
    return replace(pair, query=positive, positive=query, negatives=())


@dataclass(slots=True)
class _PendingQuery:
    """A query and its right answers, over all languages; `of` has each language's first pair."""

    relevant: dict[int, int] = field(default_factory=dict)
    pairs_by_language: dict[str | None, Pair] = field(default_factory=dict)


class _BenchmarkBuilder:
    """Questions and documents, while pairs are being read."""

    def __init__(self) -> None:
        self._identities = ContentKeys()
        self.documents = DocumentSet(
            lambda side: (self._identities.hash_side(side), side.instruction)
        )
        self._pending: dict[tuple[int, str, str], _PendingQuery] = {}
        self._pools: dict[PoolKey, dict[int, None]] = {}  # ordered sets

    def add_pair(self, pair: Pair) -> None:
        key = (self._identities.hash_side(pair.query), pair.direction, pair.dataset)
        asked = self._pending.setdefault(key, _PendingQuery())
        place = self.documents.add(pair.positive)
        asked.relevant[place] = 1
        asked.pairs_by_language.setdefault(pair.language, pair)
        self._add_to_pool(_pool_key(pair, pair.positive), place)
        for negative in pair.negatives:
            self._add_to_pool(_pool_key(pair, negative), self.documents.add(negative))

    def add_distractors(self, pair: Pair) -> None:
        """Both sides of a pair join the documents that are of their kind, in every data set."""
        for side in (pair.query, pair.positive, *pair.negatives):
            for (kind, _, language), places in self._pools.items():
                if kind == side.kind and language in (None, pair.language):
                    told = replace(side, instruction=pair.positive.instruction)
                    places[self.documents.add(told)] = None

    def _add_to_pool(self, pool: PoolKey, place: int) -> None:
        self._pools.setdefault(pool, {})[place] = None

    def build_queries(self) -> tuple[BenchmarkQuery, ...]:
        candidates = {pool: tuple(places) for pool, places in self._pools.items()}
        asked = (
            (one, pair, dataset)
            for (_, _, dataset), one in self._pending.items()
            for pair in one.pairs_by_language.values()
        )
        return tuple(
            self._build_query(str(number), one, pair, dataset, candidates)
            for number, (one, pair, dataset) in enumerate(asked, 1)
        )

    def _build_query(
        self,
        id: str,
        asked: _PendingQuery,
        pair: Pair,
        dataset: str,
        candidates: Mapping[PoolKey, tuple[int, ...]],
    ) -> BenchmarkQuery:
        pool = _pool_key(pair, pair.positive)
        relevant = {place: 1 for place in asked.relevant if place in self._pools[pool]}
        own = self.documents.find(replace(pair.query, instruction=pair.positive.instruction))
        return BenchmarkQuery(
            id,
            (pair.query,),
            relevant,
            pair.direction,
            pair.language,
            dataset,
            cluster=self._identities.item_of(pair),
            candidates=candidates[pool],
            exclude=frozenset() if own is None or own in relevant else frozenset({own}),
        )


def _pool_key(pair: Pair, document: Side) -> PoolKey:
    captions = document.kind == "t" and bool(pair.query.image)
    return document.kind, pair.dataset, pair.language if captions else None
