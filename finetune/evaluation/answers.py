"""What a model answered to each question, with its metrics; a line each of `queries.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from embedder.types import Embedder
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, Question
from finetune.evaluation.embedding import Tell, document_vectors, question_vectors
from finetune.evaluation.metrics import Judged, measured
from finetune.evaluation.ranking import Ranking, rankings

SHOWN = 10  # documents that are kept of a ranking
BLOCK = 256  # questions that are measured at once


class Ref(TypedDict):
    """A document: its words and the absolute path of its picture."""

    text: str | None
    image: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """`found` are the best ten documents, `scores` their cosines; `rank` is the first relevant
    one's place among all, from 1. `gold`: see `Question`."""

    id: str
    direction: str
    language: str | None
    dataset: str
    cluster: str
    text: str | None
    image: str | None
    relevant: tuple[Ref, ...]
    found: tuple[Ref, ...]
    scores: tuple[float, ...]
    rank: int | None
    gold: float | None
    metrics: Mapping[str, float]


def answers(embedder: Embedder, benchmark: Benchmark, tell: Tell) -> list[Answer]:
    """What `embedder` finds, in the order of the questions.

    Raises `FinetuneError`, `EmbedderError`.
    """
    documents = document_vectors(embedder, benchmark, tell)
    asked = question_vectors(embedder, benchmark, tell)
    made: dict[int, Answer] = {}
    block: list[tuple[int, Ranking]] = []
    for one in rankings(asked, benchmark.questions, documents):
        block.append(one)
        if len(block) == BLOCK:
            made.update(_measured(benchmark, block))
            block.clear()
    made.update(_measured(benchmark, block))
    return [made[index] for index in range(len(benchmark.questions))]


def _measured(
    benchmark: Benchmark, block: Sequence[tuple[int, Ranking]]
) -> Iterator[tuple[int, Answer]]:
    judged = [
        Judged(benchmark.questions[index].relevant, ranking.found.tolist())
        for index, ranking in block
    ]
    for (index, ranking), metrics in zip(block, measured(judged, benchmark.metrics), strict=True):
        yield index, _answer(benchmark, benchmark.questions[index], ranking, metrics)


def _answer(
    benchmark: Benchmark, question: Question, ranking: Ranking, metrics: Mapping[str, float]
) -> Answer:
    side = question.sides[0]
    return Answer(
        question.id,
        question.direction,
        question.language,
        question.dataset,
        question.cluster or question.id,
        side.text,
        _ref(side)["image"],
        tuple(_ref(benchmark.documents[index]) for index in question.relevant),
        tuple(_ref(benchmark.documents[index]) for index in ranking.found[:SHOWN]),
        tuple(round(float(score), 6) for score in ranking.scores[:SHOWN]),
        ranking.rank,
        question.gold,
        metrics,
    )


def _ref(side: Side) -> Ref:
    return {"text": side.text, "image": str(Path(side.image).absolute()) if side.image else None}


def write_answers(path: Path, given: Sequence[Answer]) -> None:
    """JSON lines, the file whole or not at all."""
    fresh = path.with_name(f".{path.name}.part")
    with fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for answer in given:
            plain = {**asdict(answer), "dataset": answer.dataset or None}
            file.write(json.dumps(plain, ensure_ascii=False) + "\n")
    fresh.replace(path)


def read_answers(path: Path) -> list[Answer]:
    """Raises `DataError`."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            return [_read(json.loads(line)) for line in file]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not what finetune evaluate writes ({error}); evaluate again"
        ) from None


def _read(plain: dict[str, Any]) -> Answer:
    answer = Answer(**plain)
    return replace(
        answer,
        dataset=answer.dataset or "",
        relevant=tuple(answer.relevant),
        found=tuple(answer.found),
        scores=tuple(answer.scores),
    )
