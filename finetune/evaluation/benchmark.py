"""A benchmark: queries, documents, and which documents are relevant to which query."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from embedder.types import Role
from finetune.data.pairs import Side
from finetune.errors import DataError


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
    exclude: frozenset[int] = frozenset()  # never ranked
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
    new = {old: index for index, old in enumerate(used)}
    shared = {key: tuple(new[index] for index in pool or ()) for key, pool in pools.items()}
    queries = tuple(
        replace(
            query,
            relevant={new[index]: grade for index, grade in query.relevant.items()},
            candidates=shared[id(query.candidates)],
            exclude=frozenset(new[index] for index in query.exclude if index in new),
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
    return tuple(replace(side, instruction=None) for side in sides)


def compute_digest(benchmark: Benchmark) -> str:
    """A digest of queries, relevance and documents: equal for evaluations that can be compared.

    Images count by file name, so that a benchmark may be in another folder. Instructions do not
    count, since models differ in what they follow.
    """
    from blake3 import blake3

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
