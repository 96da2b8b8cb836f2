"""Evaluations and comparisons of a run, as finetune evaluate and finetune compare write them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.runs import read_json

BEFORE, AFTER = "before", "after"
CHANCE = 0.05  # a smaller p is beyond chance


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval, 0..1."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """The queries of one direction, language and data set."""

    direction: str
    language: str
    dataset: str
    queries: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Report:
    """One model's evaluation; `queries` is the file of its answers."""

    model: str
    benchmark: str
    asked: int
    documents: int
    main: str
    metrics: Mapping[str, Estimate]
    groups: tuple[Group, ...]
    queries: Path


@dataclass(frozen=True, slots=True)
class Change:
    """A metric before and after; `low` and `high` are the 95 % interval of the difference."""

    before: float
    after: float
    difference: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> int:
        """1 for better beyond chance, -1 for worse beyond chance, else 0."""
        if self.p < CHANCE and self.low > 0:
            return 1
        return -1 if self.p < CHANCE and self.high < 0 else 0


@dataclass(frozen=True, slots=True)
class Result:
    """A comparison, or one evaluation alone: then `before` is None and nothing has changed."""

    folder: Path
    after: Report
    before: Report | None = None
    overall: Mapping[str, Change] | None = None
    worst: tuple[str, ...] = ()


def folders(run: Path) -> list[Path]:
    """The folders of a run's evaluations, the newest first."""
    files = [*run.glob("evaluation/*/comparison.json"), *run.glob("evaluation/*/report.json")]
    stamped = sorted(((stamp(path)[0], path.parent) for path in files), reverse=True)
    return list(dict.fromkeys(folder for _, folder in stamped))


def result(folder: Path) -> Result:
    """What is in `folder`; raises `DamagedError`."""
    if not (folder / "comparison.json").is_file():
        return Result(folder, report(folder))
    before, after = report(folder / BEFORE), report(folder / AFTER)
    return read_json(
        folder / "comparison.json",
        lambda told: Result(
            folder,
            after,
            before,
            {str(name): _change(change) for name, change in told["overall"].items()},
            tuple(map(str, told.get("worst") or ())),
        ),
    )


def report(folder: Path) -> Report:
    """The evaluation in `folder`; raises `DamagedError`."""
    return read_json(folder / "report.json", lambda told: _report(folder, told))


def _report(folder: Path, told: Mapping[str, Any]) -> Report:
    about = told["benchmark"]
    return Report(
        model=str(told["model"]["name"]),
        benchmark=str(about["name"]),
        asked=int(about["queries"]),
        documents=int(about["documents"]),
        main=str(told["main"]),
        metrics=_metrics(told["metrics"]),
        groups=tuple(_group(group) for group in told["groups"]),
        queries=folder / "queries.jsonl",
    )


def _group(told: Mapping[str, Any]) -> Group:
    return Group(
        str(told["direction"]),
        str(told.get("language") or ""),
        str(told.get("dataset") or ""),
        int(told["queries"]),
        _metrics(told["metrics"]),
    )


def _metrics(told: Mapping[str, Any]) -> dict[str, Estimate]:
    """Those that are numbers: a correlation over one pair is none."""
    found = {
        str(name): Estimate(float(one["mean"]), float(one["low"]), float(one["high"]))
        for name, one in told.items()
    }
    return {
        name: one
        for name, one in found.items()
        if all(map(math.isfinite, (one.mean, one.low, one.high)))
    }


def _change(told: Mapping[str, Any]) -> Change:
    keys = ("before", "after", "difference", "low", "high", "p")
    return Change(*(float(told[key]) for key in keys))


def stamp(path: Path) -> tuple[int, int]:
    """Time and size, so that a file that was written anew is read anew."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
