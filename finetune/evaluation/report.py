"""What an evaluation and a comparison consist of, and their files.

report.json, queries.jsonl      an evaluation: metrics, and one line for each query
comparison.json                 a comparison; the two evaluations are in before/ and after/

The app reads these files too, so this module imports neither torch nor numpy.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

from finetune.errors import DataError
from finetune.run_dir import read_json_object, write_text_atomic

FORMAT = 1
REPORT, QUERIES, COMPARISON = "report.json", "queries.jsonl", "comparison.json"
BEFORE, AFTER = "before", "after"
ALPHA = 0.05  # a smaller p is significant


@dataclass(frozen=True, slots=True)
class MetricEstimate:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


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
        if self.p < ALPHA and self.low > 0:
            return 1
        return -1 if self.p < ALPHA and self.high < 0 else 0

    @property
    def verdict(self) -> str:
        """Whether the second model is better, in words."""
        return ("no difference beyond chance", "better, beyond chance", "worse, beyond chance")[
            self.sign
        ]


Metric = TypeVar("Metric", MetricEstimate, MetricChange)


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
    weight. `main` is the metric reported first.
    """

    created: str
    model: ModelInfo
    benchmark: BenchmarkInfo
    main: str
    metrics: Mapping[str, MetricEstimate]
    means: Mapping[str, Mapping[str, MetricEstimate]]
    groups: tuple[MetricGroup[MetricEstimate], ...]
    results: tuple[QueryResult, ...]


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
    return {"format": FORMAT, **_without(asdict(replace(report, results=())), "results")}


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """What comparison.json holds."""
    fields = _without(asdict(replace(comparison, pairs=())), "pairs")
    return {"format": FORMAT, **fields, "verdict": comparison.overall[comparison.main].verdict}


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write report.json or comparison.json; raises `OSError`."""
    write_text_atomic(path, json.dumps(fields, ensure_ascii=False, indent=1) + "\n")


def write_query_results(path: Path, results: Sequence[QueryResult]) -> None:
    """Write queries.jsonl; raises `OSError`."""
    lines = (
        json.dumps({**asdict(result), "dataset": result.dataset or None}, ensure_ascii=False)
        for result in results
    )
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))


def iter_query_results(path: Path) -> Iterator[QueryResult]:
    """Read queries.jsonl line by line.

    Raises:
        DataError: The file cannot be read, or is not what finetune writes.
    """
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                yield _parse_result(json.loads(line))
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
        return math.log(after.rank / before.rank) if before.rank and after.rank else 0.0

    return sorted((pair for pair in pairs if drop(pair) > 0), key=drop, reverse=True)


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
    with _parsing(path, MetricEstimate) as fields:
        report = EvaluationReport(**{**fields, "model": ModelInfo(**fields["model"])}, results=())
    if not with_results:
        return report
    return replace(report, results=tuple(iter_query_results(folder / QUERIES)))


def read_comparison(folder: Path) -> Comparison:
    """Read the comparison.json of a folder; `pairs` stays empty.

    Raises:
        DataError: The folder holds no comparison, or one that cannot be read.
    """
    with _parsing(folder / COMPARISON, MetricChange) as fields:
        models = {name: ModelInfo(**fields[name]) for name in (BEFORE, AFTER)}
        worst = tuple(fields["worst"])
        return Comparison(**{**_without(fields, "verdict"), **models, "worst": worst})


@contextmanager
def _parsing(path: Path, metric: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The fields of a report or a comparison, with those that both have parsed."""

    def parse_metrics(values: dict[str, Any]) -> dict[str, Any]:
        return {name: metric(**value) for name, value in values.items()}

    fields = read_json_object(path)
    try:
        if fields.pop("format") != FORMAT:
            raise DataError(f"{path} was written by another version of Polylens; evaluate again")
        means = {name: tuple(sets) for name, sets in fields["benchmark"]["means"].items()}
        fields["benchmark"] = BenchmarkInfo(**{**fields["benchmark"], "means": means})
        for name in {"metrics", "overall"} & fields.keys():
            fields[name] = parse_metrics(fields[name])
        fields["means"] = {name: parse_metrics(one) for name, one in fields["means"].items()}
        fields["groups"] = tuple(
            MetricGroup(**{**group, "metrics": parse_metrics(group["metrics"])})
            for group in fields["groups"]
        )
        yield fields
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not what finetune writes ({error!r}); evaluate again") from None


def _parse_result(fields: dict[str, Any]) -> QueryResult:
    sequences = {name: tuple(fields[name]) for name in ("relevant", "found", "scores")}
    return QueryResult(**{**fields, **sequences, "dataset": fields["dataset"] or ""})


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}
