"""A user's own pairs as a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery, DocumentSet
from finetune.evaluation.metrics import HIT_METRICS, RANK_METRICS, RECALL_METRICS

MAIN_METRIC = "recall@10"

PoolKey = tuple[str, str, str | None]
"""Documents that are ranked together: kind and data set; of captions also the language."""


def benchmark_from_pairs(
    pairs: Sequence[Pair],
    name: str,
    source: str,
    distractors: Iterable[Pair] = (),
    reverse: bool = False,
) -> Benchmark:
    """Build a benchmark from pairs.

    Queries of equal content are one query with several relevant documents, in each language that
    they are tagged with. A query ranks all documents of the kind that its relevant documents have;
    the captions of an image, those in its own language. A query's own content is not relevant to
    it unless the pairs say so.

    Args:
        pairs: Their queries are asked, their positives and negatives are documents.
        name: Of the benchmark.
        source: Where the pairs are from, for messages.
        distractors: Pairs whose sides are documents too.
        reverse: Ask each pair the other way round as well.

    Raises:
        DataError: An image cannot be read.
    """
    builder = _BenchmarkBuilder()
    for pair in [*pairs, *map(reverse_pair, pairs)] if reverse else pairs:
        builder.add_pair(pair)
    for pair in distractors:
        builder.add_distractors(pair)
    queries = builder.build_queries()
    several = any(len(query.relevant) > 1 for query in queries)
    return Benchmark(
        name=name,
        source=source,
        main=MAIN_METRIC,
        metrics=(*RECALL_METRICS, *(HIT_METRICS if several else ()), *RANK_METRICS),
        queries=queries,
        documents=tuple(builder.documents.sides),
    )


def reverse_pair(pair: Pair) -> Pair:
    """The positive becomes the query; instructions and negatives were for the other direction."""
    query, positive = (replace(side, instruction=None) for side in (pair.query, pair.positive))
    return replace(pair, query=positive, positive=query, negatives=())


@dataclass(slots=True)
class _PendingQuery:
    """A query and its relevant documents, over all languages; and each language's first pair."""

    relevant: dict[int, int] = field(default_factory=dict)
    pairs_by_language: dict[str | None, Pair] = field(default_factory=dict)


class _BenchmarkBuilder:
    """Collects queries and documents while pairs are read."""

    def __init__(self) -> None:
        self._keys = ContentKeys()
        self.documents = DocumentSet(lambda side: (self._keys.hash_side(side), side.instruction))
        self._pending: dict[tuple[int, str, str], _PendingQuery] = {}
        self._pools: dict[PoolKey, dict[int, None]] = {}  # ordered sets

    def add_pair(self, pair: Pair) -> None:
        key = (self._keys.hash_side(pair.query), pair.direction, pair.dataset)
        pending = self._pending.setdefault(key, _PendingQuery())
        pending.relevant[self._add_document(pair, pair.positive)] = 1
        pending.pairs_by_language.setdefault(pair.language, pair)
        for negative in pair.negatives:
            self._add_document(pair, negative)

    def add_distractors(self, pair: Pair) -> None:
        """Add the sides of a pair to the documents of their kind, in every data set."""
        for side in (pair.query, pair.positive, *pair.negatives):
            for (kind, _, language), pool in self._pools.items():
                if kind == side.kind and language in (None, pair.language):
                    document = replace(side, instruction=pair.positive.instruction)
                    pool[self.documents.add(document)] = None

    def build_queries(self) -> tuple[BenchmarkQuery, ...]:
        candidates = {key: tuple(pool) for key, pool in self._pools.items()}
        pending = (
            (query, pair)
            for query in self._pending.values()
            for pair in query.pairs_by_language.values()
        )
        return tuple(
            self._build_query(str(number), query, pair, candidates)
            for number, (query, pair) in enumerate(pending, 1)
        )

    def _add_document(self, pair: Pair, side: Side) -> int:
        index = self.documents.add(side)
        self._pools.setdefault(_pool_key(pair, side), {})[index] = None
        return index

    def _build_query(
        self,
        id: str,
        pending: _PendingQuery,
        pair: Pair,
        candidates: Mapping[PoolKey, tuple[int, ...]],
    ) -> BenchmarkQuery:
        key = _pool_key(pair, pair.positive)
        relevant = {index: 1 for index in pending.relevant if index in self._pools[key]}
        own = self.documents.find(replace(pair.query, instruction=pair.positive.instruction))
        return BenchmarkQuery(
            id=id,
            sides=(pair.query,),
            relevant=relevant,
            direction=pair.direction,
            language=pair.language,
            dataset=pair.dataset,
            cluster=self._keys.item_of(pair),
            candidates=candidates[key],
            exclude=frozenset() if own is None or own in relevant else frozenset({own}),
        )


def _pool_key(pair: Pair, document: Side) -> PoolKey:
    is_caption = document.kind == "t" and bool(pair.query.image)
    return document.kind, pair.dataset, pair.language if is_caption else None
