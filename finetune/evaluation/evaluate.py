"""Evaluates a model on a benchmark, and compares two evaluations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from embedder.files import make_private_dir
from embedder.types import Embedder
from finetune.data.files import read_pairs
from finetune.data.pairs import Side
from finetune.errors import FinetuneError
from finetune.evaluation.benchmark import (
    Benchmark,
    BenchmarkQuery,
    benchmark_from_pairs,
    compute_digest,
    sample_queries,
    strip_instructions,
)
from finetune.evaluation.benchmarks import MTEB_PREFIX, BenchmarkFiles, load_benchmark
from finetune.evaluation.bootstrap import ResultParts, compare_metrics, estimate_metrics
from finetune.evaluation.embedding import Progress, embed_queries, embed_sides
from finetune.evaluation.ranking import Ranking, compute_metrics, rank_queries
from finetune.evaluation.render import write_comparison_files, write_report_files
from finetune.evaluation.report import (
    AFTER,
    BEFORE,
    BenchmarkInfo,
    Comparison,
    DocumentRef,
    EvaluationReport,
    Metric,
    MetricGroup,
    ModelInfo,
    QueryResult,
    find_regressions,
)

MAX_LISTED = 10  # documents listed for each query
MAX_WORST = 20  # queries listed as regressions
BLOCK_SIZE = 256  # queries whose metrics are computed together


def build_benchmark(
    path: Path,
    family: str,
    extracted_dir: Path,
    *,
    benchmark: str | None = None,
    among: Path | None = None,
    reverse: bool = False,
    limit: int | None = None,
    seed: int = 0,
    images: Path | None = None,
    font: Path | None = None,
    without_instructions: bool = False,
) -> Benchmark:
    """Read what to evaluate on, with the instructions of a model's family.

    Args:
        path: A file of pairs, or the folder of the published set `benchmark`.
        family: The model's.
        extracted_dir: Where drawn captions, and images that tables hold, are written.
        benchmark: The name of a published set.
        among: More pairs, whose sides are documents too.
        reverse: Search in both directions.
        limit: How many queries to use, drawn at random with `seed`; None for all.
        seed: Of `limit`.
        images: The folder of the images, where they are elsewhere.
        font: Of drawn captions.
        without_instructions: Leave out all instructions.

    Raises:
        FinetuneError: The benchmark is unknown, or its files cannot be used.
    """
    path = Path(os.path.expanduser(path))
    if benchmark:
        files = BenchmarkFiles(
            path=path, images=images, family=family, font=font, extracted_dir=extracted_dir
        )
        built = load_benchmark(benchmark, files)
    else:
        distractors = read_pairs(Path(os.path.expanduser(among)), images) if among else []
        pairs = read_pairs(path, images)
        built = benchmark_from_pairs(pairs, path.name, str(path.absolute()), distractors, reverse)
    built = sample_queries(built, limit, seed)
    return strip_instructions(built) if without_instructions else built


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
        make_private_dir(out)  # fails before the work, not after it
    results = _run_queries(embedder, benchmark, progress)
    card, metrics = embedder.card, benchmark.metrics
    info = BenchmarkInfo(
        name=benchmark.name,
        source=benchmark.source,
        queries=len(benchmark.queries),
        documents=len(benchmark.documents),
        digest=compute_digest(benchmark),
        macro=benchmark.macro,
        means=dict(benchmark.means),
    )
    overall, means = _split_by_dataset(results, info)
    report = EvaluationReport(
        created=_current_time(),
        model=ModelInfo(card.name, card.fingerprint, card.dim),
        benchmark=info,
        main=benchmark.main,
        metrics=estimate_metrics(overall, metrics),
        means={name: estimate_metrics(parts, metrics) for name, parts in means.items()},
        groups=tuple(
            _metric_group(part, estimate_metrics([part], metrics))
            for part in _group_results(results)
        ),
        results=tuple(results),
    )
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
    if before.benchmark.name.startswith(MTEB_PREFIX):
        raise FinetuneError(
            f"{before.benchmark.name} has no results of single queries, which a test of two models "
            "needs; compare the scores in the two report.json"
        )
    pairs = tuple(zip(before.results, after.results, strict=False))
    info, metrics = before.benchmark, tuple(before.metrics)
    same_ids = len(before.results) == len(after.results) and all(a.id == b.id for a, b in pairs)
    if info.digest != after.benchmark.digest or not same_ids:
        texts = [
            f"{one.name} ({one.queries} queries, {one.documents} documents)"
            for one in (info, after.benchmark)
        ]
        raise FinetuneError(
            f"the two evaluations have different queries: {texts[0]} before, {texts[1]} after; "
            "evaluate both models on one file or folder, with the same --limit and --among"
        )
    overall, means = _split_by_dataset(before.results, info)
    new_overall, new_means = _split_by_dataset(after.results, info)
    groups = zip(_group_results(before.results), _group_results(after.results), strict=True)
    comparison = Comparison(
        created=_current_time(),
        before=before.model,
        after=after.model,
        benchmark=info,
        main=before.main,
        overall=compare_metrics(overall, new_overall, metrics),
        means={
            name: compare_metrics(parts, new_means[name], metrics) for name, parts in means.items()
        },
        groups=tuple(
            _metric_group(old, compare_metrics([old], [new], metrics)) for old, new in groups
        ),
        worst=tuple(result.id for result, _ in find_regressions(pairs)[:MAX_WORST]),
        pairs=pairs,
    )
    if out is not None:
        write_report_files(before, out / BEFORE)
        write_report_files(after, out / AFTER)
        write_comparison_files(comparison, out)
    return comparison


def _run_queries(embedder: Embedder, benchmark: Benchmark, progress: Progress) -> list[QueryResult]:
    """Rank the documents for every query; the results are in the order of the queries."""
    document_vectors = embed_sides(embedder, benchmark.documents, "document", progress, "documents")
    query_vectors = embed_queries(embedder, benchmark, progress)
    rankings = rank_queries(query_vectors, benchmark.queries, document_vectors)
    results: dict[int, QueryResult] = {}
    while block := list(islice(rankings, BLOCK_SIZE)):
        judged = [(benchmark.queries[n].relevant, one.documents.tolist()) for n, one in block]
        metrics = compute_metrics(judged, benchmark.metrics)
        for (index, ranking), values in zip(block, metrics, strict=True):
            results[index] = _build_result(benchmark, benchmark.queries[index], ranking, values)
    return [results[index] for index in range(len(benchmark.queries))]


def _build_result(
    benchmark: Benchmark, query: BenchmarkQuery, ranking: Ranking, metrics: Mapping[str, float]
) -> QueryResult:
    found = ranking.documents[:MAX_LISTED]
    return QueryResult(
        id=query.id,
        direction=query.direction,
        language=query.language,
        dataset=query.dataset or None,
        cluster=query.cluster or query.id,
        **_document_ref(query.sides[0]),
        relevant=tuple(_document_ref(benchmark.documents[one]) for one in query.relevant),
        found=tuple(_document_ref(benchmark.documents[one]) for one in found),
        scores=tuple(round(float(score), 6) for score in ranking.scores[:MAX_LISTED]),
        rank=ranking.rank,
        gold=query.gold,
        metrics=metrics,
    )


def _document_ref(side: Side) -> DocumentRef:
    return {"text": side.text, "image": str(Path(side.image).absolute()) if side.image else None}


def _current_time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _group_results(results: Sequence[QueryResult]) -> list[list[QueryResult]]:
    """The results of each direction, data set and language; sorted."""
    groups: dict[tuple[str, str, str], list[QueryResult]] = {}
    for result in results:
        key = (result.direction, result.dataset or "", result.language or "")
        groups.setdefault(key, []).append(result)
    return [groups[key] for key in sorted(groups)]


def _metric_group(
    results: Sequence[QueryResult], metrics: Mapping[str, Metric]
) -> MetricGroup[Metric]:
    first = results[0]
    return MetricGroup(
        direction=first.direction,
        language=first.language,
        dataset=first.dataset,
        queries=len(results),
        metrics=metrics,
    )


def _split_by_dataset(
    results: Sequence[QueryResult], info: BenchmarkInfo
) -> tuple[ResultParts, dict[str, ResultParts]]:
    """The parts of equal weight of all results, and of each of the benchmark's `means` that has
    any."""
    datasets: dict[str | None, list[QueryResult]] = {}
    for result in results:
        datasets.setdefault(result.dataset, []).append(result)
    means: dict[str, ResultParts] = {}
    for name, members in info.means.items():
        if parts := [datasets[one] for one in members if one in datasets]:
            means[name] = parts
    return list(datasets.values()) if info.macro else [results], means
