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
from finetune.evaluation.answers import Answer, read_answers, write_answers
from finetune.evaluation.benchmark import Benchmark, digest
from finetune.evaluation.estimates import Estimate, Parts, estimates

FORMAT = 1
REPORT, QUERIES = "report.json", "queries.jsonl"


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    fingerprint: str
    dim: int


@dataclass(frozen=True, slots=True)
class About:
    """A benchmark without its contents. Two with one `digest` ask the same."""

    name: str
    source: str
    queries: int
    documents: int
    digest: str
    macro: bool
    means: Mapping[str, tuple[str, ...]]


Key = tuple[str, str | None, str | None]
"""Direction, language, data set."""


@dataclass(frozen=True, slots=True)
class Group:
    """Questions of one direction, language and data set."""

    direction: str
    language: str | None
    dataset: str | None
    queries: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Report:
    """`metrics` is over all questions; `means` has the unweighted means over several data sets."""

    created: str
    model: Model
    benchmark: About
    main: str
    metrics: Mapping[str, Estimate]
    means: Mapping[str, Mapping[str, Estimate]]
    groups: tuple[Group, ...]
    answers: tuple[Answer, ...]


def report(card: ModelCard, benchmark: Benchmark, given: Sequence[Answer]) -> Report:
    """What `given`, a model's answers in the order of the questions, come to."""
    about = About(
        benchmark.name,
        benchmark.source,
        len(benchmark.questions),
        len(benchmark.documents),
        digest(benchmark),
        benchmark.macro,
        dict(benchmark.means),
    )
    metrics = benchmark.metrics
    return Report(
        now(),
        Model(card.name, card.fingerprint, card.dim),
        about,
        benchmark.main,
        estimates(parts(given, about), metrics),
        {name: estimates(part, metrics) for name, part in mean_parts(given, about).items()},
        tuple(
            Group(*key, len(part), estimates([part], metrics))
            for key, part in grouped(given).items()
        ),
        tuple(given),
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def grouped(given: Sequence[Answer]) -> dict[Key, list[Answer]]:
    """The answers of each group, sorted by direction, data set and language."""
    groups: dict[Key, list[Answer]] = {}
    for answer in given:
        key = (answer.direction, answer.language, answer.dataset or None)
        groups.setdefault(key, []).append(answer)
    return dict(sorted(groups.items(), key=lambda g: (g[0][0], g[0][2] or "", g[0][1] or "")))


def parts(given: Sequence[Answer], about: About) -> Parts:
    """What the figures over all questions are made from."""
    return list(_by_dataset(given).values()) if about.macro else [given]


def mean_parts(given: Sequence[Answer], about: About) -> dict[str, Parts]:
    """The data sets of each of the benchmark's `means` that are there."""
    there = _by_dataset(given)
    found = {
        name: [there[one] for one in sets if one in there] for name, sets in about.means.items()
    }
    return {name: part for name, part in found.items() if part}


def _by_dataset(given: Sequence[Answer]) -> dict[str, list[Answer]]:
    datasets: dict[str, list[Answer]] = {}
    for answer in given:
        datasets.setdefault(answer.dataset, []).append(answer)
    return datasets


def plain(made: Report) -> dict[str, Any]:
    """What `report.json` holds."""
    told = asdict(made)
    del told["answers"]
    return {"format": FORMAT, **told}


def write_report(made: Report, folder: Path) -> None:
    """Write report.json, queries.jsonl, report.md and report.html; raises `OSError`."""
    from finetune.evaluation.report_page import report_html, report_markdown

    folder.mkdir(parents=True, exist_ok=True)
    write_answers(folder / QUERIES, made.answers)
    write_text(folder / "report.md", report_markdown(made))
    write_text(folder / "report.html", report_html(made))
    write_text(folder / REPORT, json.dumps(plain(made), ensure_ascii=False, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """The file whole or not at all."""
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(text, encoding="utf-8", errors="surrogateescape")
    fresh.replace(path)


def read_report(folder: Path) -> Report:
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
        return _read(told, read_answers(folder / QUERIES))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not what finetune evaluate writes ({error}); evaluate again"
        ) from None


def _read(told: dict[str, Any], given: Sequence[Answer]) -> Report:
    means = {name: tuple(sets) for name, sets in told["benchmark"]["means"].items()}
    return Report(
        told["created"],
        Model(**told["model"]),
        About(**{**told["benchmark"], "means": means}),
        told["main"],
        _estimates(told["metrics"]),
        {name: _estimates(metrics) for name, metrics in told["means"].items()},
        tuple(Group(**{**g, "metrics": _estimates(g["metrics"])}) for g in told["groups"]),
        tuple(given),
    )


def _estimates(told: dict[str, Any]) -> dict[str, Estimate]:
    return {name: Estimate(**values) for name, values in told.items()}
