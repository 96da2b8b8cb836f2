"""A benchmark: questions, documents, and which documents answer which question."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from embedder.types import Role
from finetune.data.pairs import Side
from finetune.errors import DataError


@dataclass(frozen=True, slots=True)
class BenchmarkQuery:
    """What is asked, and the documents that answer it.

    `sides` is one side; where there are several, the model's states of all are added before they
    are brought to length 1 (E5-V's FashionIQ). `relevant` maps a document's index to its grade, 1
    or more. `candidates` are the documents that are ranked, None: all; questions with the same
    candidates share one tuple. `exclude` is never ranked. Questions of one `cluster` are about one
    thing and are no independent evidence. `gold` is the similarity that people gave to the pair of
    a question and its only candidate, where nothing is ranked.
    """

    id: str
    sides: tuple[Side, ...]
    relevant: Mapping[int, int]
    direction: str
    language: str | None = None
    dataset: str = ""
    cluster: str = ""
    candidates: tuple[int, ...] | None = None
    exclude: frozenset[int] = frozenset()
    gold: float | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`main` is the metric that is spoken of first, one of `metrics`. With `macro`, the figures
    over all questions are unweighted means over the data sets; `means` names groups of data sets
    whose unweighted mean is reported too. `role` is what a question is embedded as."""

    name: str
    source: str
    main: str
    metrics: tuple[str, ...]
    queries: tuple[BenchmarkQuery, ...]
    documents: tuple[Side, ...]
    macro: bool = False
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    role: Role = "query"

    def validate(self) -> None:
        """Raise `DataError` where a question cannot be answered or a picture is missing."""
        if not self.queries:
            raise DataError(f"{self.source} holds no question")
        for question in self.queries:
            if not question.relevant and question.gold is None:
                raise DataError(f"{self.source}: question {question.id} has no right answer")
        asked = (side for question in self.queries for side in question.sides)
        paths = {side.image for side in (*asked, *self.documents) if side.image}
        missing = sorted(path for path in paths if not Path(path).is_file())
        if missing:
            raise DataError(
                f"{self.source}: {len(missing)} of {len(paths)} pictures are missing, the first is "
                f"{missing[0]}; name the folder that they are in with --images FOLDER"
            )


class DocumentSet:
    """Gathers documents, each content once."""

    def __init__(self, key: Callable[[Side], Hashable] = lambda side: side) -> None:
        self._key = key
        self._indices: dict[Hashable, int] = {}
        self.sides: list[Side] = []

    def add(self, side: Side) -> int:
        """The index of `side`, which is new or known."""
        place = self._indices.setdefault(self._key(side), len(self.sides))
        if place == len(self.sides):
            self.sides.append(side)
        return place

    def find(self, side: Side) -> int | None:
        return self._indices.get(self._key(side))


def sample_queries(benchmark: Benchmark, limit: int | None, seed: int = 0) -> Benchmark:
    """`limit` of the questions, in their order, the same for the same seed, and every document that
    one of them is answered from."""
    if limit is None or limit >= len(benchmark.queries):
        return benchmark
    chosen = np.random.default_rng(seed).choice(len(benchmark.queries), limit, replace=False)
    kept = tuple(benchmark.queries[index] for index in sorted(chosen))
    return _drop_unused_documents(replace(benchmark, queries=kept))


def _drop_unused_documents(benchmark: Benchmark) -> Benchmark:
    """Without the documents that no question has among its candidates."""
    pools = {id(q.candidates): q.candidates for q in benchmark.queries}
    if None in pools.values():
        return benchmark
    used = sorted({place for pool in pools.values() for place in pool or ()})
    new = {old: place for place, old in enumerate(used)}
    shared = {key: tuple(new[place] for place in pool or ()) for key, pool in pools.items()}
    questions = tuple(
        replace(
            question,
            relevant={new[place]: grade for place, grade in question.relevant.items()},
            candidates=shared[id(question.candidates)],
            exclude=frozenset(new[place] for place in question.exclude if place in new),
        )
        for question in benchmark.queries
    )
    documents = tuple(benchmark.documents[place] for place in used)
    return replace(benchmark, queries=questions, documents=documents)


def strip_instructions(benchmark: Benchmark) -> Benchmark:
    """Without instructions, for models that follow none."""
    return replace(
        benchmark,
        queries=tuple(replace(q, sides=_strip_sides(q.sides)) for q in benchmark.queries),
        documents=_strip_sides(benchmark.documents),
    )


def _strip_sides(sides: Iterable[Side]) -> tuple[Side, ...]:
    return tuple(replace(side, instruction=None) for side in sides)


def compute_digest(benchmark: Benchmark) -> str:
    """What two evaluations must share to be compared: questions, answers, documents.

    Pictures count by their files' names, so that a benchmark may lie in another folder;
    instructions do not count, as models differ in what they follow.
    """
    from blake3 import blake3

    hashed = blake3()
    for question in benchmark.queries:
        relevant = sorted(question.relevant.items())
        told = (question.id, question.language, question.dataset, relevant, question.gold)
        hashed.update(repr((told, *map(_side_content, question.sides[:1]))).encode())
    for side in benchmark.documents:
        hashed.update(repr(_side_content(side)).encode())
    return hashed.hexdigest(length=16)


def _side_content(side: Side) -> tuple[str, str]:
    return side.text or "", Path(side.image).name if side.image else ""
