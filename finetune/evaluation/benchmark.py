"""A benchmark: queries, documents, and which documents are relevant to which query."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from blake3 import blake3

from embedder.types import Role
from finetune.data.pairs import ContentKeys, Pair, Side
from finetune.errors import DataError

RECALL_METRICS = ("recall@1", "recall@5", "recall@10", "recall@50")
HIT_METRICS = ("hit@1", "hit@5", "hit@10")
RANK_METRICS = ("ndcg@10", "map", "mrr")
SPEARMAN = "spearman"
"""The one metric that a single query does not have; see bootstrap.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkQuery:
    """A query and the documents that are relevant to it.

    Where there are several `sides`, the model's states of all are added before normalization
    (E5-V's FashionIQ). Queries of one `cluster` are about one thing and not independent evidence.
    Queries with the same candidates share one tuple.
    """

    id: str
    sides: tuple[Side, ...]
    relevant: Mapping[int, int]  # grade, 1 or more, by index of the document
    direction: str
    language: str | None = None
    dataset: str = ""
    cluster: str = ""
    candidates: tuple[int, ...] | None = None  # the documents that are ranked; None: all
    exclude: int | None = None  # a document that is never ranked
    gold: float | None = None  # people's rating of the only candidate, where nothing is ranked


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Queries, and the documents that are ranked for them."""

    name: str
    source: str
    main: str  # the metric reported first, one of `metrics`
    metrics: tuple[str, ...]
    queries: tuple[BenchmarkQuery, ...]
    documents: tuple[Side, ...]
    macro: bool = False  # metrics over all queries are unweighted means over the data sets
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # more means over data sets
    role: Role = "query"  # what queries are embedded as

    def validate(self) -> None:
        """Raise `DataError` for a query without a relevant document, and for missing images."""
        if not self.queries:
            raise DataError(f"{self.source} has no queries")
        for query in self.queries:
            if not query.relevant and query.gold is None:
                raise DataError(f"{self.source}: query {query.id} has no relevant document")
        self.validate_images()

    def validate_images(self) -> None:
        """Raise `DataError` for missing images."""
        query_sides = (side for query in self.queries for side in query.sides)
        paths = {side.image for side in (*query_sides, *self.documents) if side.image}
        missing = sorted(path for path in paths if not Path(path).is_file())
        if missing:
            raise DataError(
                f"{self.source}: {len(missing)} of {len(paths)} images are missing, the first is "
                f"{missing[0]}; name the folder that they are in with --images FOLDER"
            )


class DocumentSet:
    """Collects documents, each content once."""

    def __init__(self, key: Callable[[Side], Hashable] = lambda side: side) -> None:
        self._key = key
        self._indices: dict[Hashable, int] = {}
        self.sides: list[Side] = []

    def add(self, side: Side) -> int:
        """The index of `side`, which is appended where it is new."""
        index = self._indices.setdefault(self._key(side), len(self.sides))
        if index == len(self.sides):
            self.sides.append(side)
        return index

    def find(self, side: Side) -> int | None:
        return self._indices.get(self._key(side))


def sample_queries(benchmark: Benchmark, limit: int | None, seed: int = 0) -> Benchmark:
    """Keep `limit` random queries, in their order, and every document that is a candidate of one.

    The same seed keeps the same queries.
    """
    if limit is None or limit >= len(benchmark.queries):
        return benchmark
    chosen = np.random.default_rng(seed).choice(len(benchmark.queries), limit, replace=False)
    queries = tuple(benchmark.queries[index] for index in sorted(chosen))
    return _drop_unused_documents(replace(benchmark, queries=queries))


def _drop_unused_documents(benchmark: Benchmark) -> Benchmark:
    pools = {id(query.candidates): query.candidates for query in benchmark.queries}
    if None in pools.values():
        return benchmark
    used = sorted({index for pool in pools.values() for index in pool or ()})
    new: dict[int | None, int] = {old: index for index, old in enumerate(used)}
    shared = {key: tuple(new[index] for index in pool or ()) for key, pool in pools.items()}
    queries = tuple(
        replace(
            query,
            relevant={new[index]: grade for index, grade in query.relevant.items()},
            candidates=shared[id(query.candidates)],
            exclude=new.get(query.exclude),
        )
        for query in benchmark.queries
    )
    documents = tuple(benchmark.documents[index] for index in used)
    return replace(benchmark, queries=queries, documents=documents)


def strip_instructions(benchmark: Benchmark) -> Benchmark:
    """Remove all instructions, for models that follow none."""
    queries = (replace(query, sides=_strip_sides(query.sides)) for query in benchmark.queries)
    documents = _strip_sides(benchmark.documents)
    return replace(benchmark, queries=tuple(queries), documents=documents)


def _strip_sides(sides: Iterable[Side]) -> tuple[Side, ...]:
    return tuple(side.without_instruction() for side in sides)


def compute_digest(benchmark: Benchmark) -> str:
    """A digest of queries, relevance and documents: equal for evaluations that can be compared.

    Images count by file name, so that a benchmark may be in another folder. Instructions do not
    count, since models differ in what they follow.
    """
    hasher = blake3()
    for query in benchmark.queries:
        relevant = sorted(query.relevant.items())
        fields = (query.id, query.language, query.dataset, relevant, query.gold)
        hasher.update(repr((fields, *map(_side_content, query.sides[:1]))).encode())
    for side in benchmark.documents:
        hasher.update(repr(_side_content(side)).encode())
    return hasher.hexdigest(length=16)


def _side_content(side: Side) -> tuple[str, str]:
    return side.text or "", Path(side.image).name if side.image else ""


def benchmark_from_pairs(
    pairs: Sequence[Pair],
    name: str,
    source: str,
    distractors: Iterable[Pair] = (),
    reverse: bool = False,
) -> Benchmark:
    """Build a benchmark from a user's own pairs.

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
    builder = _PairBenchmarkBuilder()
    for pair in [*pairs, *map(_reverse_pair, pairs)] if reverse else pairs:
        builder.add_pair(pair)
    for pair in distractors:
        builder.add_distractors(pair)
    queries = builder.build_queries()
    several = any(len(query.relevant) > 1 for query in queries)
    return Benchmark(
        name=name,
        source=source,
        main="recall@10",
        metrics=(*RECALL_METRICS, *(HIT_METRICS if several else ()), *RANK_METRICS),
        queries=queries,
        documents=tuple(builder.documents.sides),
    )


def _reverse_pair(pair: Pair) -> Pair:
    """The positive becomes the query; instructions and negatives were for the other direction."""
    query, positive = (side.without_instruction() for side in (pair.query, pair.positive))
    return replace(pair, query=positive, positive=query, negatives=())


class _PairBenchmarkBuilder:
    """Collects queries and documents while pairs are read."""

    def __init__(self) -> None:
        self._keys = ContentKeys()
        self.documents = DocumentSet(lambda side: (self._keys.hash_side(side), side.instruction))
        # of each query: its relevant documents over all languages, each language's first pair
        self._relevant: dict[tuple[int, str, str], dict[int, int]] = {}
        self._pairs: dict[tuple[int, str, str], dict[str | None, Pair]] = {}
        # documents that are ranked together, in order
        self._pools: dict[tuple[str, str, str | None], dict[int, None]] = {}

    def add_pair(self, pair: Pair) -> None:
        key = (self._keys.hash_side(pair.query), pair.direction, pair.dataset)
        self._relevant.setdefault(key, {})[self._add_document(pair, pair.positive)] = 1
        self._pairs.setdefault(key, {}).setdefault(pair.language, pair)
        for negative in pair.negatives:
            self._add_document(pair, negative)

    def add_distractors(self, pair: Pair) -> None:
        """Add the sides of a pair to the documents of their kind, in every data set."""
        for side in (pair.query, pair.positive, *pair.negatives):
            for (kind, _, language), pool in self._pools.items():
                if kind == side.kind and language in (None, pair.language):
                    document = side.with_instruction_of(pair.positive)
                    pool[self.documents.add(document)] = None

    def build_queries(self) -> tuple[BenchmarkQuery, ...]:
        candidates = {key: tuple(pool) for key, pool in self._pools.items()}
        queries: list[BenchmarkQuery] = []
        for key, pairs in self._pairs.items():
            for pair in pairs.values():
                pool = _pool_key(pair, pair.positive)
                relevant = {i: 1 for i in self._relevant[key] if i in self._pools[pool]}
                own = self.documents.find(pair.query.with_instruction_of(pair.positive))
                queries.append(
                    BenchmarkQuery(
                        id=str(len(queries) + 1),
                        sides=(pair.query,),
                        relevant=relevant,
                        direction=pair.direction,
                        language=pair.language,
                        dataset=pair.dataset,
                        cluster=self._keys.item_of(pair),
                        candidates=candidates[pool],
                        exclude=None if own in relevant else own,
                    )
                )
        return tuple(queries)

    def _add_document(self, pair: Pair, side: Side) -> int:
        index = self.documents.add(side)
        self._pools.setdefault(_pool_key(pair, side), {})[index] = None
        return index


def _pool_key(pair: Pair, document: Side) -> tuple[str, str, str | None]:
    """Kind and data set; of the captions of an image also the language."""
    is_caption = document.kind == "t" and bool(pair.query.image)
    return document.kind, pair.dataset, pair.language if is_caption else None
