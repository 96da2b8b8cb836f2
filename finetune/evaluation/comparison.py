"""Two models on the same questions: differences, and whether they are beyond chance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.evaluation.estimates import MetricChange, compare_metrics
from finetune.evaluation.query_results import QueryResult
from finetune.evaluation.report import (
    FORMAT,
    BenchmarkInfo,
    EvaluationReport,
    ModelInfo,
    current_time,
    group_results,
    mean_parts,
    overall_parts,
    write_text_atomic,
)

COMPARISON = "comparison.json"
MAX_WORST = 20  # queries that are named
ALPHA = 0.05  # a smaller p is beyond chance


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """The questions of one direction, language and data set, answered by both models."""

    direction: str
    language: str | None
    dataset: str | None
    queries: int
    metrics: Mapping[str, MetricChange]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`worst`: the questions whose first relevant document fell most, the worst first. `pairs` has
    both answers to each question."""

    created: str
    before: ModelInfo
    after: ModelInfo
    benchmark: BenchmarkInfo
    main: str
    overall: Mapping[str, MetricChange]
    means: Mapping[str, Mapping[str, MetricChange]]
    groups: tuple[GroupComparison, ...]
    worst: tuple[str, ...]
    pairs: tuple[tuple[QueryResult, QueryResult], ...]


def compare_reports(before: EvaluationReport, after: EvaluationReport) -> Comparison:
    """Raises `FinetuneError` where the two do not ask the same."""
    _check_same_benchmark(before, after)
    about, metrics = before.benchmark, tuple(before.metrics)
    old, new = group_results(before.answers), group_results(after.answers)
    older, newer = mean_parts(before.answers, about), mean_parts(after.answers, about)
    pairs = tuple(zip(before.answers, after.answers, strict=True))
    return Comparison(
        current_time(),
        before.model,
        after.model,
        about,
        before.main,
        compare_metrics(
            overall_parts(before.answers, about), overall_parts(after.answers, about), metrics
        ),
        {name: compare_metrics(older[name], newer[name], metrics) for name in older},
        tuple(
            GroupComparison(*key, len(part), compare_metrics([part], [new[key]], metrics))
            for key, part in old.items()
        ),
        tuple(answer.id for answer, _ in find_regressions(pairs)[:MAX_WORST]),
        pairs,
    )


def _check_same_benchmark(before: EvaluationReport, after: EvaluationReport) -> None:
    one, two = before.benchmark, after.benchmark
    asked = [[answer.id for answer in made.answers] for made in (before, after)]
    if one.digest == two.digest and asked[0] == asked[1]:
        return
    many = [f"{b.name} ({b.queries} queries, {b.documents} documents)" for b in (one, two)]
    raise FinetuneError(
        f"the two evaluations do not ask the same: {many[0]} before, {many[1]} after; evaluate "
        "both models on one file or folder, with the same --limit and --among"
    )


def find_regressions(
    pairs: Sequence[tuple[QueryResult, QueryResult]],
) -> list[tuple[QueryResult, QueryResult]]:
    """Where the first relevant document fell, by how many times further down it is now."""

    def fall(pair: tuple[QueryResult, QueryResult]) -> float:
        before, after = pair
        if before.rank is None or after.rank is None:
            return 0.0
        return math.log(after.rank / before.rank)

    return [pair for pair in sorted(pairs, key=fall, reverse=True) if fall(pair) > 0]


def describe_verdict(change: MetricChange) -> str:
    """Whether the second model is better, in words."""
    if change.p < ALPHA and change.low > 0:
        return "better, beyond chance"
    if change.p < ALPHA and change.high < 0:
        return "worse, beyond chance"
    return "no difference beyond chance"


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """What `comparison.json` holds."""
    told = asdict(comparison)
    del told["pairs"]
    return {
        "format": FORMAT,
        **told,
        "verdict": describe_verdict(comparison.overall[comparison.main]),
    }


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.md and comparison.html; raises `OSError`."""
    from finetune.evaluation.comparison_render import (
        render_comparison_html,
        render_comparison_markdown,
    )

    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / "comparison.md", render_comparison_markdown(comparison))
    write_text_atomic(folder / "comparison.html", render_comparison_html(comparison))
    text = json.dumps(comparison_to_dict(comparison), ensure_ascii=False, indent=1)
    write_text_atomic(folder / COMPARISON, text + "\n")
