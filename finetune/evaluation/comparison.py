"""Two models on the same questions: differences, and whether they are beyond chance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.evaluation.answers import Answer
from finetune.evaluation.estimates import Change, changes
from finetune.evaluation.report import (
    FORMAT,
    About,
    Model,
    Report,
    grouped,
    mean_parts,
    now,
    parts,
    write_text,
)

COMPARISON = "comparison.json"
WORST = 20  # queries that are named
CHANCE = 0.05  # a smaller p is beyond chance


@dataclass(frozen=True, slots=True)
class Difference:
    """The questions of one direction, language and data set, answered by both models."""

    direction: str
    language: str | None
    dataset: str | None
    queries: int
    metrics: Mapping[str, Change]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`worst`: the questions whose first relevant document fell most, the worst first. `pairs` has
    both answers to each question."""

    created: str
    before: Model
    after: Model
    benchmark: About
    main: str
    overall: Mapping[str, Change]
    means: Mapping[str, Mapping[str, Change]]
    groups: tuple[Difference, ...]
    worst: tuple[str, ...]
    pairs: tuple[tuple[Answer, Answer], ...]


def comparison(before: Report, after: Report) -> Comparison:
    """Raises `FinetuneError` where the two do not ask the same."""
    _same(before, after)
    about, metrics = before.benchmark, tuple(before.metrics)
    old, new = grouped(before.answers), grouped(after.answers)
    older, newer = mean_parts(before.answers, about), mean_parts(after.answers, about)
    pairs = tuple(zip(before.answers, after.answers, strict=True))
    return Comparison(
        now(),
        before.model,
        after.model,
        about,
        before.main,
        changes(parts(before.answers, about), parts(after.answers, about), metrics),
        {name: changes(older[name], newer[name], metrics) for name in older},
        tuple(
            Difference(*key, len(part), changes([part], [new[key]], metrics))
            for key, part in old.items()
        ),
        tuple(answer.id for answer, _ in fallen(pairs)[:WORST]),
        pairs,
    )


def _same(before: Report, after: Report) -> None:
    one, two = before.benchmark, after.benchmark
    asked = [[answer.id for answer in made.answers] for made in (before, after)]
    if one.digest == two.digest and asked[0] == asked[1]:
        return
    many = [f"{b.name} ({b.queries} queries, {b.documents} documents)" for b in (one, two)]
    raise FinetuneError(
        f"the two evaluations do not ask the same: {many[0]} before, {many[1]} after; evaluate "
        "both models on one file or folder, with the same --limit and --among"
    )


def fallen(pairs: Sequence[tuple[Answer, Answer]]) -> list[tuple[Answer, Answer]]:
    """Where the first relevant document fell, by how many times further down it is now."""

    def fall(pair: tuple[Answer, Answer]) -> float:
        before, after = pair
        if before.rank is None or after.rank is None:
            return 0.0
        return math.log(after.rank / before.rank)

    return [pair for pair in sorted(pairs, key=fall, reverse=True) if fall(pair) > 0]


def verdict(change: Change) -> str:
    """Whether the second model is better, in words."""
    if change.p < CHANCE and change.low > 0:
        return "better, beyond chance"
    if change.p < CHANCE and change.high < 0:
        return "worse, beyond chance"
    return "no difference beyond chance"


def plain(made: Comparison) -> dict[str, Any]:
    """What `comparison.json` holds."""
    told = asdict(made)
    del told["pairs"]
    return {"format": FORMAT, **told, "verdict": verdict(made.overall[made.main])}


def write_comparison(made: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.md and comparison.html; raises `OSError`."""
    from finetune.evaluation.comparison_page import comparison_html, comparison_markdown

    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "comparison.md", comparison_markdown(made))
    write_text(folder / "comparison.html", comparison_html(made))
    text = json.dumps(plain(made), ensure_ascii=False, indent=1)
    write_text(folder / COMPARISON, text + "\n")
