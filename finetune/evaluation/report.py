"""The report of an evaluation: figures over all questions and of each group, and its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedder.types import ModelCard
from finetune.errors import DataError
from finetune.evaluation.benchmark import Benchmark, compute_digest
from finetune.evaluation.estimates import MetricEstimate, ResultParts, estimate_metrics
from finetune.evaluation.query_results import QueryResult, read_query_results, write_query_results

FORMAT = 1
REPORT, QUERIES = "report.json", "queries.jsonl"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    name: str
    fingerprint: str
    dim: int


@dataclass(frozen=True, slots=True)
class BenchmarkInfo:
    """A benchmark without its contents. Two with one `digest` ask the same."""

    name: str
    source: str
    queries: int
    documents: int
    digest: str
    macro: bool
    means: Mapping[str, tuple[str, ...]]


GroupKey = tuple[str, str | None, str | None]
"""Direction, language, data set."""


@dataclass(frozen=True, slots=True)
class GroupReport:
    """Questions of one direction, language and data set."""

    direction: str
    language: str | None
    dataset: str | None
    queries: int
    metrics: Mapping[str, MetricEstimate]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """`metrics` is over all questions; `means` has the unweighted means over several data sets."""

    created: str
    model: ModelInfo
    benchmark: BenchmarkInfo
    main: str
    metrics: Mapping[str, MetricEstimate]
    means: Mapping[str, Mapping[str, MetricEstimate]]
    groups: tuple[GroupReport, ...]
    answers: tuple[QueryResult, ...]


def build_report(
    card: ModelCard, benchmark: Benchmark, results: Sequence[QueryResult]
) -> EvaluationReport:
    """What `given`, a model's answers in the order of the questions, come to."""
    info = BenchmarkInfo(
        benchmark.name,
        benchmark.source,
        len(benchmark.queries),
        len(benchmark.documents),
        compute_digest(benchmark),
        benchmark.macro,
        dict(benchmark.means),
    )
    metrics = benchmark.metrics
    return EvaluationReport(
        current_time(),
        ModelInfo(card.name, card.fingerprint, card.dim),
        info,
        benchmark.main,
        estimate_metrics(overall_parts(results, info), metrics),
        {name: estimate_metrics(part, metrics) for name, part in mean_parts(results, info).items()},
        tuple(
            GroupReport(*key, len(part), estimate_metrics([part], metrics))
            for key, part in group_results(results).items()
        ),
        tuple(results),
    )


def current_time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def group_results(results: Sequence[QueryResult]) -> dict[GroupKey, list[QueryResult]]:
    """The answers of each group, sorted by direction, data set and language."""
    groups: dict[GroupKey, list[QueryResult]] = {}
    for answer in results:
        key = (answer.direction, answer.language, answer.dataset or None)
        groups.setdefault(key, []).append(answer)
    return dict(sorted(groups.items(), key=lambda g: (g[0][0], g[0][2] or "", g[0][1] or "")))


def overall_parts(results: Sequence[QueryResult], about: BenchmarkInfo) -> ResultParts:
    """What the figures over all questions are made from."""
    return list(_by_dataset(results).values()) if about.macro else [results]


def mean_parts(results: Sequence[QueryResult], about: BenchmarkInfo) -> dict[str, ResultParts]:
    """The data sets of each of the benchmark's `means` that are there."""
    there = _by_dataset(results)
    found = {
        name: [there[one] for one in sets if one in there] for name, sets in about.means.items()
    }
    return {name: part for name, part in found.items() if part}


def _by_dataset(results: Sequence[QueryResult]) -> dict[str, list[QueryResult]]:
    datasets: dict[str, list[QueryResult]] = {}
    for answer in results:
        datasets.setdefault(answer.dataset, []).append(answer)
    return datasets


def report_to_dict(report: EvaluationReport) -> dict[str, Any]:
    """What `report.json` holds."""
    told = asdict(report)
    del told["answers"]
    return {"format": FORMAT, **told}


def write_report(report: EvaluationReport, folder: Path) -> None:
    """Write report.json, queries.jsonl, report.md and report.html; raises `OSError`."""
    from finetune.evaluation.report_render import render_report_html, render_report_markdown

    folder.mkdir(parents=True, exist_ok=True)
    write_query_results(folder / QUERIES, report.answers)
    write_text_atomic(folder / "report.md", render_report_markdown(report))
    write_text_atomic(folder / "report.html", render_report_html(report))
    write_text_atomic(
        folder / REPORT, json.dumps(report_to_dict(report), ensure_ascii=False, indent=1) + "\n"
    )


def write_text_atomic(path: Path, text: str) -> None:
    """The file whole or not at all."""
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(text, encoding="utf-8", errors="surrogateescape")
    fresh.replace(path)


def read_report(folder: Path) -> EvaluationReport:
    """An evaluation's folder; raises `DataError`."""
    path = folder / REPORT
    if not path.is_file():
        raise DataError(
            f"{folder} is no evaluation's folder; to compare models, say on what: "
            "finetune compare BEFORE AFTER pairs.test.jsonl"
        )
    try:
        told = json.loads(path.read_text("utf-8", "surrogateescape"))
        if told["format"] != FORMAT:
            raise DataError(
                f"{path} is of format {told['format']}, and this program reads {FORMAT}"
            )
        return _parse_report(told, read_query_results(folder / QUERIES))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not what finetune evaluate writes ({error}); evaluate again"
        ) from None


def _parse_report(told: dict[str, Any], given: Sequence[QueryResult]) -> EvaluationReport:
    means = {name: tuple(sets) for name, sets in told["benchmark"]["means"].items()}
    return EvaluationReport(
        told["created"],
        ModelInfo(**told["model"]),
        BenchmarkInfo(**{**told["benchmark"], "means": means}),
        told["main"],
        _parse_estimates(told["metrics"]),
        {name: _parse_estimates(metrics) for name, metrics in told["means"].items()},
        tuple(
            GroupReport(**{**g, "metrics": _parse_estimates(g["metrics"])}) for g in told["groups"]
        ),
        tuple(given),
    )


def _parse_estimates(told: dict[str, Any]) -> dict[str, MetricEstimate]:
    return {name: MetricEstimate(**values) for name, values in told.items()}
