"""The user's own pairs as a benchmark, and the comparison at the end of a training run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedder.types import Embedder
from finetune.data.identity import Identities
from finetune.data.pairs import Pair, Side
from finetune.evaluation.benchmark import Benchmark, Documents, Question
from finetune.evaluation.comparison import Comparison
from finetune.evaluation.evaluating import compare, evaluate
from finetune.evaluation.metrics import HIT, RECALL, REST

MAIN = "recall@10"

Pool = tuple[str, str, str | None]
"""Documents that are ranked together: their kind and data set; captions also by language."""


def from_pairs(
    pairs: Sequence[Pair], name: str, source: str, among: Iterable[Pair] = (), reverse: bool = False
) -> Benchmark:
    """A benchmark whose questions are the queries of `pairs` and whose documents are their
    positives and negatives, and those of `among` besides. Raises `DataError`.

    Queries of equal content are one question with several right answers, in each language that they
    are tagged with. A question is answered from all documents of the kind that its answers are; a
    picture's words, from those in its own language. The query's own content is never an answer to
    it unless the pairs say so. With `reverse`, each pair is asked the other way round too.
    """
    gathered = _Gathered()
    given = [*pairs, *map(reversed_, pairs)] if reverse else list(pairs)
    for pair in given:
        gathered.ask(pair)
    for pair in among:
        gathered.distract(pair)
    questions = gathered.questions()
    several = any(len(question.relevant) > 1 for question in questions)
    metrics = (*RECALL, *(HIT if several else ()), *REST)
    return Benchmark(name, source, MAIN, metrics, questions, tuple(gathered.documents.sides))


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
    benchmark = from_pairs(pairs, name, name)
    first, second = (evaluate(model, benchmark, tell=progress) for model in (before, after))
    return compare(first, second, out)


def reversed_(pair: Pair) -> Pair:
    """What was looked for asks; instructions and negatives were for the other way."""
    query, positive = (replace(s, instruction=None) for s in (pair.query, pair.positive))
    return replace(pair, query=positive, positive=query, negatives=())


@dataclass(slots=True)
class _Asked:
    """A query and its right answers, over all languages; `of` has each language's first pair."""

    relevant: dict[int, int] = field(default_factory=dict)
    of: dict[str | None, Pair] = field(default_factory=dict)


class _Gathered:
    """Questions and documents, while pairs are being read."""

    def __init__(self) -> None:
        self._identities = Identities()
        self.documents = Documents(lambda side: (self._identities.of(side), side.instruction))
        self._asked: dict[tuple[int, str, str], _Asked] = {}
        self._pools: dict[Pool, dict[int, None]] = {}  # ordered sets

    def ask(self, pair: Pair) -> None:
        key = (self._identities.of(pair.query), pair.direction, pair.dataset)
        asked = self._asked.setdefault(key, _Asked())
        place = self.documents.add(pair.positive)
        asked.relevant[place] = 1
        asked.of.setdefault(pair.language, pair)
        self._pool(_pool(pair, pair.positive), place)
        for negative in pair.negatives:
            self._pool(_pool(pair, negative), self.documents.add(negative))

    def distract(self, pair: Pair) -> None:
        """Both sides of a pair join the documents that are of their kind, in every data set."""
        for side in (pair.query, pair.positive, *pair.negatives):
            for (kind, _, language), places in self._pools.items():
                if kind == side.kind and language in (None, pair.language):
                    told = replace(side, instruction=pair.positive.instruction)
                    places[self.documents.add(told)] = None

    def _pool(self, pool: Pool, place: int) -> None:
        self._pools.setdefault(pool, {})[place] = None

    def questions(self) -> tuple[Question, ...]:
        candidates = {pool: tuple(places) for pool, places in self._pools.items()}
        asked = (
            (one, pair, dataset)
            for (_, _, dataset), one in self._asked.items()
            for pair in one.of.values()
        )
        return tuple(
            self._question(str(number), one, pair, dataset, candidates)
            for number, (one, pair, dataset) in enumerate(asked, 1)
        )

    def _question(
        self,
        id: str,
        asked: _Asked,
        pair: Pair,
        dataset: str,
        candidates: Mapping[Pool, tuple[int, ...]],
    ) -> Question:
        pool = _pool(pair, pair.positive)
        relevant = {place: 1 for place in asked.relevant if place in self._pools[pool]}
        own = self.documents.find(replace(pair.query, instruction=pair.positive.instruction))
        return Question(
            id,
            (pair.query,),
            relevant,
            pair.direction,
            pair.language,
            dataset,
            cluster=self._identities.item(pair),
            candidates=candidates[pool],
            exclude=frozenset() if own is None or own in relevant else frozenset({own}),
        )


def _pool(pair: Pair, document: Side) -> Pool:
    captions = document.kind == "t" and bool(pair.query.image)
    return document.kind, pair.dataset, pair.language if captions else None
