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
from finetune.evaluation.benchmark import Benchmark, BenchmarkQuery
from finetune.evaluation.embedding import Progress, embed_documents, embed_queries
from finetune.evaluation.metrics import JudgedRanking, compute_metrics
from finetune.evaluation.ranking import Ranking, rank_queries

MAX_LISTED = 10  # documents that are kept of a ranking
BLOCK_SIZE = 256  # questions that are measured at once


class DocumentRef(TypedDict):
    """A document: its words and the absolute path of its picture."""

    text: str | None
    image: str | None


@dataclass(frozen=True, slots=True)
class QueryResult:
    """`found` are the best ten documents, `scores` their cosines; `rank` is the first relevant
    one's place among all, from 1. `gold`: see `Question`."""

    id: str
    direction: str
    language: str | None
    dataset: str
    cluster: str
    text: str | None
    image: str | None
    relevant: tuple[DocumentRef, ...]
    found: tuple[DocumentRef, ...]
    scores: tuple[float, ...]
    rank: int | None
    gold: float | None
    metrics: Mapping[str, float]


def run_queries(embedder: Embedder, benchmark: Benchmark, progress: Progress) -> list[QueryResult]:
    """What `embedder` finds, in the order of the questions.

    Raises `FinetuneError`, `EmbedderError`.
    """
    documents = embed_documents(embedder, benchmark, progress)
    asked = embed_queries(embedder, benchmark, progress)
    made: dict[int, QueryResult] = {}
    block: list[tuple[int, Ranking]] = []
    for one in rank_queries(asked, benchmark.queries, documents):
        block.append(one)
        if len(block) == BLOCK_SIZE:
            made.update(_score_block(benchmark, block))
            block.clear()
    made.update(_score_block(benchmark, block))
    return [made[index] for index in range(len(benchmark.queries))]


def _score_block(
    benchmark: Benchmark, block: Sequence[tuple[int, Ranking]]
) -> Iterator[tuple[int, QueryResult]]:
    judged = [
        JudgedRanking(benchmark.queries[index].relevant, ranking.documents.tolist())
        for index, ranking in block
    ]
    for (index, ranking), metrics in zip(
        block, compute_metrics(judged, benchmark.metrics), strict=True
    ):
        yield index, _build_result(benchmark, benchmark.queries[index], ranking, metrics)


def _build_result(
    benchmark: Benchmark, query: BenchmarkQuery, ranking: Ranking, metrics: Mapping[str, float]
) -> QueryResult:
    side = query.sides[0]
    return QueryResult(
        query.id,
        query.direction,
        query.language,
        query.dataset,
        query.cluster or query.id,
        side.text,
        _describe_side(side)["image"],
        tuple(_describe_side(benchmark.documents[index]) for index in query.relevant),
        tuple(
            _describe_side(benchmark.documents[index]) for index in ranking.documents[:MAX_LISTED]
        ),
        tuple(round(float(score), 6) for score in ranking.scores[:MAX_LISTED]),
        ranking.rank,
        query.gold,
        metrics,
    )


def _describe_side(side: Side) -> DocumentRef:
    return {"text": side.text, "image": str(Path(side.image).absolute()) if side.image else None}


def write_query_results(path: Path, results: Sequence[QueryResult]) -> None:
    """JSON lines, the file whole or not at all."""
    fresh = path.with_name(f".{path.name}.part")
    with fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for answer in results:
            plain = {**asdict(answer), "dataset": answer.dataset or None}
            file.write(json.dumps(plain, ensure_ascii=False) + "\n")
    fresh.replace(path)


def read_query_results(path: Path) -> list[QueryResult]:
    """Raises `DataError`."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            return [_parse_result(json.loads(line)) for line in file]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not what finetune evaluate writes ({error}); evaluate again"
        ) from None


def _parse_result(plain: dict[str, Any]) -> QueryResult:
    answer = QueryResult(**plain)
    return replace(
        answer,
        dataset=answer.dataset or "",
        relevant=tuple(answer.relevant),
        found=tuple(answer.found),
        scores=tuple(answer.scores),
    )
