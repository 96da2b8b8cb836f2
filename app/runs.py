"""The fine-tuning runs that the Quality page lists, and what their evaluations found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from app.caching import cache_by_file
from app.services import get_settings
from embedder.files import PRIVATE, make_private_dir, write_file
from finetune.evaluation.report import (
    AFTER,
    BEFORE,
    COMPARISON,
    EvaluationReport,
    MetricChange,
    MetricEstimate,
    QueryResult,
    find_hardest,
    iter_query_results,
    read_comparison,
    read_report,
)
from finetune.run_dir import STALLED_SECONDS, RunDir, RunInfo, list_runs
from indexer.errors import IndexerError
from indexer.paths import display_path

ADDED = "elsewhere.txt"  # in the folder of runs: the folders of other runs, one in each line
MAX_HARDEST = 20  # queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A comparison, or an evaluation of one model: then `before` and `changes` are None."""

    folder: Path
    after: EvaluationReport
    before: EvaluationReport | None = None
    changes: Mapping[str, MetricChange] | None = None
    worst: tuple[str, ...] = ()


def list_all() -> list[RunInfo]:
    """The runs in the folder of runs and those that were added, the newest first.

    Without those in folders whose names are not UTF-8: no page can name them.
    """
    runs = dict.fromkeys([*list_runs(_root()), *map(RunDir, list_added())])
    infos = [run.describe() for run in runs if display_path(str(run.folder)) == str(run.folder)]
    return sorted(infos, key=lambda info: (info.created, info.name), reverse=True)


def is_stalled(run: RunInfo) -> bool:
    """Whether its status is `training` but nothing was written for a while."""
    return run.status == "training" and RunDir(run.folder).seconds_since_write() > STALLED_SECONDS


def list_added() -> list[Path]:
    """The folders of runs that were added by hand."""
    try:
        lines = (_root() / ADDED).read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    return [Path(line) for line in lines if line.strip()]


def add(folder: Path) -> None:
    """List the run in `folder` as well; raises `IndexerError`."""
    if not (folder / "run.json").is_file():
        raise IndexerError(f"{folder} is not the folder of a run: it has no run.json")
    _write_added({*list_added(), folder.absolute()})


def forget(folder: Path) -> None:
    """Stop listing an added run; its folder stays. Raises `IndexerError`."""
    _write_added({*list_added()} - {folder})


def read_result(folder: Path) -> Result:
    """The comparison or evaluation in `folder`; raises `DataError`."""
    if not (folder / COMPARISON).is_file():
        return Result(folder=folder, after=_read_report(folder))
    comparison = read_comparison(folder)
    return Result(
        folder=folder,
        after=_read_report(folder / AFTER),
        before=_read_report(folder / BEFORE),
        changes=comparison.overall,
        worst=comparison.worst,
    )


@cache_by_file(maxsize=8)
def find_query_results(file: Path, ids: tuple[str, ...]) -> dict[str, QueryResult]:
    """What the evaluation whose results are in `file` found for `ids`; raises `DataError`."""
    return {result.id: result for result in iter_query_results(file) if result.id in ids}


@cache_by_file(maxsize=8)
def find_hardest_ids(file: Path) -> tuple[str, ...]:
    """The queries whose first relevant document ranks lowest; raises `DataError`."""
    return tuple(result.id for result in find_hardest(iter_query_results(file), MAX_HARDEST))


def _read_report(folder: Path) -> EvaluationReport:
    """Without metrics that are not numbers, such as a correlation over one pair."""
    report = read_report(folder, with_results=False)
    groups = tuple(replace(group, metrics=_finite(group.metrics)) for group in report.groups)
    return replace(report, metrics=_finite(report.metrics), groups=groups)


def _finite(metrics: Mapping[str, MetricEstimate]) -> dict[str, MetricEstimate]:
    return {
        name: one
        for name, one in metrics.items()
        if all(math.isfinite(value) for value in (one.mean, one.low, one.high) if value is not None)
    }


def _write_added(folders: set[Path]) -> None:
    path = _root() / ADDED
    try:
        make_private_dir(path.parent)
        write_file(path, "".join(f"{folder}\n" for folder in sorted(folders)), mode=PRIVATE)
    except OSError as error:
        raise IndexerError(f"{path} cannot be written ({error.strerror or error})") from error


def _root() -> Path:
    return Path(get_settings().runs)
