"""Evaluates a model on a benchmark, and compares two evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder.types import Embedder, ModelCard
from finetune.data.files import read_pairs
from finetune.data.pairs import Side
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import (
    Benchmark,
    compute_digest,
    sample_queries,
    strip_instructions,
)
from finetune.evaluation.benchmarks import BenchmarkFiles, load_benchmark
from finetune.evaluation.bootstrap import ResultParts, compare_metrics, estimate_metrics
from finetune.evaluation.embedding import Progress, embed_queries, embed_sides
from finetune.evaluation.metrics import JudgedRanking, compute_metrics
from finetune.evaluation.pair_benchmark import benchmark_from_pairs
from finetune.evaluation.ranking import Ranking, rank_queries
from finetune.evaluation.render import write_comparison_files, write_report_files
from finetune.evaluation.report import (
    AFTER,
    BEFORE,
    BenchmarkInfo,
    Comparison,
    DocumentRef,
    EvaluationReport,
    MetricGroup,
    ModelInfo,
    QueryResult,
    find_regressions,
)

MAX_LISTED = 10  # documents listed for each query
MAX_WORST = 20  # queries listed as regressions
BLOCK_SIZE = 256  # queries whose metrics are computed together


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRequest:
    """What to evaluate on. `path` is a file of pairs, or the folder of the set `benchmark`."""

    path: Path
    benchmark: str | None = None
    among: Path | None = None
    reverse: bool = False
    limit: int | None = None
    seed: int = 0
    images: Path | None = None
    font: Path | None = None
    without_instructions: bool = False


def build_benchmark(request: BenchmarkRequest, family: str, drawings_dir: Path) -> Benchmark:
    """Read the benchmark with the instructions of a model's `family`.

    Drawn captions are written to `drawings_dir`.

    Raises:
        FinetuneError: The benchmark is unknown, or its files cannot be used.
    """
    path = request.path.expanduser()
    if request.benchmark:
        files = BenchmarkFiles(
            path=path,
            images=request.images,
            family=family,
            font=request.font,
            drawings_dir=drawings_dir,
        )
        benchmark = load_benchmark(request.benchmark, files)
    else:
        among = request.among
        distractors = read_pairs(among.expanduser(), request.images) if among else []
        pairs = read_pairs(path, request.images)
        source = str(path.absolute())
        benchmark = benchmark_from_pairs(pairs, path.name, source, distractors, request.reverse)
    benchmark = sample_queries(benchmark, request.limit, request.seed)
    return strip_instructions(benchmark) if request.without_instructions else benchmark


def evaluate(
    embedder: Embedder,
    benchmark: Benchmark,
    out: Path | None = None,
    progress: Progress = lambda _: None,
) -> EvaluationReport:
    """Evaluate a model on a benchmark.

    Args:
        embedder: The model.
        benchmark: What it is evaluated on.
        out: Where the report and all results are written, if given.
        progress: Called with a line of text now and then.

    Returns:
        The metrics with their intervals, and the result of each query.

    Raises:
        FinetuneError: The benchmark cannot be used, or not with this model.
        EmbedderError: The model fails.
        OSError: `out` cannot be written.
    """
    benchmark.validate()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    report = build_report(embedder.card, benchmark, run_queries(embedder, benchmark, progress))
    if out is not None:
        write_report_files(report, out)
    return report


def compare(
    before: EvaluationReport, after: EvaluationReport, out: Path | None = None
) -> Comparison:
    """Compare two evaluations on the same benchmark; write both and the comparison to `out`.

    Raises:
        FinetuneError: The two have different queries or documents.
        OSError: `out` cannot be written.
    """
    comparison = compare_reports(before, after)
    if out is not None:
        write_report_files(before, out / BEFORE)
        write_report_files(after, out / AFTER)
        write_comparison_files(comparison, out)
    return comparison


def run_queries(embedder: Embedder, benchmark: Benchmark, progress: Progress) -> list[QueryResult]:
    """Rank the documents for every query; the results are in the order of the queries."""
    document_vectors = embed_sides(embedder, benchmark.documents, "document", progress, "documents")
    query_vectors = embed_queries(embedder, benchmark, progress)
    results: dict[int, QueryResult] = {}
    block: list[tuple[int, Ranking]] = []
    for ranking in rank_queries(query_vectors, benchmark.queries, document_vectors):
        block.append(ranking)
        if len(block) == BLOCK_SIZE:
            results.update(_score_block(benchmark, block))
            block.clear()
    results.update(_score_block(benchmark, block))
    return [results[index] for index in range(len(benchmark.queries))]


def _score_block(
    benchmark: Benchmark, block: Sequence[tuple[int, Ranking]]
) -> Iterator[tuple[int, QueryResult]]:
    rankings = [
        JudgedRanking(benchmark.queries[index].relevant, ranking.documents.tolist())
        for index, ranking in block
    ]
    metrics = compute_metrics(rankings, benchmark.metrics)
    for (index, ranking), values in zip(block, metrics, strict=True):
        yield index, _build_result(benchmark, index, ranking, values)


def _build_result(
    benchmark: Benchmark, index: int, ranking: Ranking, metrics: Mapping[str, float]
) -> QueryResult:
    query = benchmark.queries[index]
    return QueryResult(
        id=query.id,
        direction=query.direction,
        language=query.language,
        dataset=query.dataset,
        cluster=query.cluster or query.id,
        **_document_ref(query.sides[0]),
        relevant=tuple(_document_ref(benchmark.documents[one]) for one in query.relevant),
        found=tuple(
            _document_ref(benchmark.documents[one]) for one in ranking.documents[:MAX_LISTED]
        ),
        scores=tuple(round(float(score), 6) for score in ranking.scores[:MAX_LISTED]),
        rank=ranking.rank,
        gold=query.gold,
        metrics=metrics,
    )


def _document_ref(side: Side) -> DocumentRef:
    return {"text": side.text, "image": str(Path(side.image).absolute()) if side.image else None}


def build_report(
    card: ModelCard, benchmark: Benchmark, results: Sequence[QueryResult]
) -> EvaluationReport:
    """Aggregate the results of a model, which are in the order of the benchmark's queries."""
    info = BenchmarkInfo(
        name=benchmark.name,
        source=benchmark.source,
        queries=len(benchmark.queries),
        documents=len(benchmark.documents),
        digest=compute_digest(benchmark),
        macro=benchmark.macro,
        means=dict(benchmark.means),
    )
    metrics = benchmark.metrics
    return EvaluationReport(
        created=_current_time(),
        model=ModelInfo(card.name, card.fingerprint, card.dim),
        benchmark=info,
        main=benchmark.main,
        metrics=estimate_metrics(_overall_parts(results, info), metrics),
        means={
            name: estimate_metrics(parts, metrics)
            for name, parts in _mean_parts(results, info).items()
        },
        groups=tuple(
            MetricGroup(**group, queries=len(part), metrics=estimate_metrics([part], metrics))
            for group, part in _group_results(results)
        ),
        results=tuple(results),
    )


def compare_reports(before: EvaluationReport, after: EvaluationReport) -> Comparison:
    """Compare two evaluations; raises `FinetuneError` where their queries differ."""
    _check_same_benchmark(before, after)
    info, metrics = before.benchmark, tuple(before.metrics)
    groups = zip(_group_results(before.results), _group_results(after.results), strict=True)
    old_means, new_means = _mean_parts(before.results, info), _mean_parts(after.results, info)
    pairs = tuple(zip(before.results, after.results, strict=True))
    return Comparison(
        created=_current_time(),
        before=before.model,
        after=after.model,
        benchmark=info,
        main=before.main,
        overall=compare_metrics(
            _overall_parts(before.results, info), _overall_parts(after.results, info), metrics
        ),
        means={
            name: compare_metrics(old_means[name], new_means[name], metrics) for name in old_means
        },
        groups=tuple(
            MetricGroup(**group, queries=len(old), metrics=compare_metrics([old], [new], metrics))
            for (group, old), (_, new) in groups
        ),
        worst=tuple(result.id for result, _ in find_regressions(pairs)[:MAX_WORST]),
        pairs=pairs,
    )


def _check_same_benchmark(before: EvaluationReport, after: EvaluationReport) -> None:
    ids = [[result.id for result in report.results] for report in (before, after)]
    infos = (before.benchmark, after.benchmark)
    if infos[0].digest == infos[1].digest and ids[0] == ids[1]:
        return
    texts = [f"{i.name} ({i.queries} queries, {i.documents} documents)" for i in infos]
    raise FinetuneError(
        f"the two evaluations have different queries: {texts[0]} before, {texts[1]} after; "
        "evaluate both models on one file or folder, with the same --limit and --among"
    )


def _current_time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _group_results(
    results: Sequence[QueryResult],
) -> list[tuple[dict[str, Any], list[QueryResult]]]:
    """What the queries of a group share, and their results; sorted."""
    groups: dict[tuple[str, str, str], list[QueryResult]] = {}
    for result in results:
        key = (result.direction, result.dataset, result.language or "")
        groups.setdefault(key, []).append(result)
    return [
        ({"direction": key[0], "dataset": key[1] or None, "language": part[0].language}, part)
        for key, part in sorted(groups.items())
    ]


def _overall_parts(results: Sequence[QueryResult], info: BenchmarkInfo) -> ResultParts:
    return list(_group_by_dataset(results).values()) if info.macro else [results]


def _mean_parts(results: Sequence[QueryResult], info: BenchmarkInfo) -> dict[str, ResultParts]:
    """The results of the data sets of each of the benchmark's `means`, where there are any."""
    datasets = _group_by_dataset(results)
    parts = {
        name: [datasets[one] for one in members if one in datasets]
        for name, members in info.means.items()
    }
    return {name: part for name, part in parts.items() if part}


def _group_by_dataset(results: Sequence[QueryResult]) -> dict[str, list[QueryResult]]:
    datasets: dict[str, list[QueryResult]] = {}
    for result in results:
        datasets.setdefault(result.dataset, []).append(result)
    return datasets
