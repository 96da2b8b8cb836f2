"""What an evaluation and a comparison consist of, and their files.

report.json, queries.jsonl      an evaluation: metrics, and one line for each query
comparison.json                 a comparison; the two evaluations are in before/ and after/

The app reads these files too, so this module imports neither torch nor numpy.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

from embedder.files import write_file
from finetune.errors import DataError
from finetune.run_dir import read_json_object

FORMAT = 1
REPORT, QUERIES, COMPARISON = "report.json", "queries.jsonl", "comparison.json"
BEFORE, AFTER = "before", "after"
ALPHA = 0.05  # a smaller p is significant


@dataclass(frozen=True, slots=True)
class MetricEstimate:
    """A mean and its 95 % bootstrap interval, if there is one: mteb's scores have none."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class MetricChange:
    """A metric of two models on the same queries.

    `low` and `high` are the 95 % interval of `difference`; `p` is the probability of a difference
    this large where neither model is better.
    """

    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> int:
        """1 for significantly better, -1 for significantly worse, else 0."""
        return (self.low > 0) - (self.high < 0) if self.p < ALPHA else 0

    @property
    def verdict(self) -> str:
        """Whether the second model is better, in words."""
        return ("no difference beyond chance", "better, beyond chance", "worse, beyond chance")[
            self.sign
        ]


Metric = TypeVar("Metric", MetricEstimate, MetricChange)
Report = TypeVar("Report")


class DocumentRef(TypedDict):
    """A document: its text and the absolute path of its image."""

    text: str | None
    image: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """What a model retrieved for one query; one line of queries.jsonl.

    `found` are the best ten documents and `scores` their cosines; `rank` is the position of the
    first relevant document among all, from 1. `cluster` and `gold`: see `BenchmarkQuery`.
    """

    id: str
    direction: str
    language: str | None
    dataset: str | None
    cluster: str
    text: str | None
    image: str | None
    relevant: tuple[DocumentRef, ...]
    found: tuple[DocumentRef, ...]
    scores: tuple[float, ...]
    rank: int | None
    gold: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that was evaluated."""

    name: str
    fingerprint: str
    dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkInfo:
    """A benchmark without its contents. Two with the same `digest` have the same queries."""

    name: str
    source: str
    queries: int
    documents: int
    digest: str
    macro: bool
    means: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricGroup(Generic[Metric]):
    """The metrics over the queries of one direction, language and data set."""

    direction: str
    language: str | None
    dataset: str | None
    queries: int
    metrics: Mapping[str, Metric]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """One model on one benchmark.

    `metrics` is over all queries, `means` over groups of data sets, each data set with the same
    weight. `main` is the metric reported first. `results` may be left in queries.jsonl.
    """

    created: str
    model: ModelInfo
    benchmark: BenchmarkInfo
    main: str
    metrics: Mapping[str, MetricEstimate]
    means: Mapping[str, Mapping[str, MetricEstimate]]
    groups: tuple[MetricGroup[MetricEstimate], ...]
    results: tuple[QueryResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on one benchmark.

    `worst` are the ids of the queries whose first relevant document dropped most, the worst first.
    `pairs` has both results of each query; empty where a comparison is read from its file.
    """

    created: str
    before: ModelInfo
    after: ModelInfo
    benchmark: BenchmarkInfo
    main: str
    overall: Mapping[str, MetricChange]
    means: Mapping[str, Mapping[str, MetricChange]]
    groups: tuple[MetricGroup[MetricChange], ...]
    worst: tuple[str, ...]
    pairs: tuple[tuple[QueryResult, QueryResult], ...] = ()


def report_to_dict(report: EvaluationReport) -> dict[str, Any]:
    """What report.json holds."""
    fields = {"format": FORMAT, **asdict(replace(report, results=()))}
    del fields["results"]
    return fields


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """What comparison.json holds."""
    fields = {"format": FORMAT, **asdict(replace(comparison, pairs=()))}
    del fields["pairs"]
    return {**fields, "verdict": comparison.overall[comparison.main].verdict}


def write_query_results(path: Path, results: Iterable[QueryResult]) -> None:
    """Write queries.jsonl; raises `OSError`."""
    lines = (json.dumps(asdict(result), ensure_ascii=False) for result in results)
    write_file(path, "".join(f"{line}\n" for line in lines))


def iter_query_results(path: Path) -> Iterator[QueryResult]:
    """Read queries.jsonl line by line.

    Raises:
        DataError: The file cannot be read, or is not what finetune writes.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = json.loads(line)
                sequences = {name: tuple(fields[name]) for name in ("relevant", "found", "scores")}
                yield QueryResult(**{**fields, **sequences})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} is not what finetune evaluate writes ({error}); evaluate again"
        ) from None


def find_hardest(results: Iterable[QueryResult], count: int) -> list[QueryResult]:
    """The queries whose first relevant document ranks lowest; those that rank first are left out.

    Takes an iterator, so that a large queries.jsonl need not fit into memory.
    """
    missed = (result for result in results if (result.rank or 0) > 1)
    return heapq.nlargest(count, missed, key=lambda result: result.rank or 0)


def find_regressions(
    pairs: Iterable[tuple[QueryResult, QueryResult]],
) -> list[tuple[QueryResult, QueryResult]]:
    """The pairs whose first relevant document ranks lower after, the largest ratio first."""

    def drop(pair: tuple[QueryResult, QueryResult]) -> float:
        before, after = pair
        return after.rank / before.rank if before.rank and after.rank else 0.0

    return sorted((pair for pair in pairs if drop(pair) > 1), key=drop, reverse=True)


def read_report(folder: Path, *, with_results: bool = True) -> EvaluationReport:
    """Read the folder of an evaluation.

    Args:
        folder: What `finetune evaluate --out` wrote.
        with_results: Read queries.jsonl as well, which may be large.

    Raises:
        DataError: The folder holds no evaluation, or one that cannot be read.
    """
    path = folder / REPORT
    if not path.is_file():
        raise DataError(
            f"{folder} holds no evaluation; to compare models, name what to evaluate them on: "
            "finetune compare BEFORE AFTER pairs.test.jsonl"
        )
    report = _read_file(path, EvaluationReport, MetricEstimate)
    if not with_results:
        return report
    return replace(report, results=tuple(iter_query_results(folder / QUERIES)))


def read_comparison(folder: Path) -> Comparison:
    """Read the comparison.json of a folder; `pairs` stays empty.

    Raises:
        DataError: The folder holds no comparison, or one that cannot be read.
    """
    comparison = _read_file(folder / COMPARISON, Comparison, MetricChange)
    return replace(comparison, worst=tuple(comparison.worst))


def _read_file(path: Path, report: Callable[..., Report], metric: Callable[..., Any]) -> Report:
    """The `report` in a JSON file, whose metrics are of the type `metric`; raises `DataError`."""

    def parse_metrics(values: dict[str, Any]) -> dict[str, Any]:
        return {name: metric(**value) for name, value in values.items()}

    fields = read_json_object(path)
    try:
        if fields.pop("format") != FORMAT:
            raise DataError(f"{path} was written by another version of Polylens; evaluate again")
        fields.pop("verdict", None)
        means = {name: tuple(sets) for name, sets in fields["benchmark"]["means"].items()}
        fields["benchmark"] = BenchmarkInfo(**{**fields["benchmark"], "means": means})
        fields["means"] = {name: parse_metrics(one) for name, one in fields["means"].items()}
        fields["groups"] = tuple(
            MetricGroup(**{**group, "metrics": parse_metrics(group["metrics"])})
            for group in fields["groups"]
        )
        for name in {"metrics", "overall"} & fields.keys():
            fields[name] = parse_metrics(fields[name])
        for name in {"model", BEFORE, AFTER} & fields.keys():
            fields[name] = ModelInfo(**fields[name])
        return report(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not what finetune writes ({error!r}); evaluate again") from None
