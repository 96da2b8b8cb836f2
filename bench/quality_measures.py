"""What is counted of the answers: recall, false alarms, precision; with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bench.quality_data import Query
from bench.report import render_table
from finetune.evaluation.bootstrap import bootstrap_means, percentile_interval

DEPTH = 10  # hits of a search

Estimate: TypeAlias = "list[float]"
"""A value and the ends of its 95 % interval; a value alone where there is none."""

Figures: TypeAlias = "dict[str, dict[str, Estimate]]"
"""Row -> column -> estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query got: the pictures on its first places, and what was said of them."""

    query: Query
    places: tuple[str, ...]
    strengths: tuple[float | None, ...]  # of each hit
    words: tuple[str | None, ...]  # the word for each hit's strength
    matches: bool
    seconds: float

    @property
    def strength(self) -> float | None:
        """The largest of the hits; None where no claim is made, 0 where there are none."""
        known = [strength for strength in self.strengths if strength is not None]
        return max(known, default=None if self.strengths else 0.0)

    def is_found(self, depth: int) -> bool:
        return bool(self.query.right.intersection(self.places[:depth]))


def estimate_share(answers: Sequence[Answer], good: Iterable[float]) -> Estimate:
    """The percentage of `good`, each 0 to 1, by a bootstrap of the concepts."""
    values = np.array([[float(g)] for g in good])
    if not len(values):
        return [math.nan]
    _, clusters = np.unique([a.query.concept for a in answers], return_inverse=True)
    low, high = percentile_interval(bootstrap_means(values, clusters.astype(np.int64)))
    return [100 * float(values.mean()), 100 * float(low[0]), 100 * float(high[0])]


def measure_recall(answers: Sequence[Answer], depths: Sequence[int] = (1, 5, 10)) -> Figures:
    """R@k by language, and of the languages other than English together."""
    languages = list(dict.fromkeys(answer.query.language for answer in answers))
    groups = {x: [a for a in answers if a.query.language == x] for x in languages}
    if len(languages) > 1:
        groups["all but English"] = [a for a in answers if a.query.language != "en"]
    return {
        row: {f"R@{k}": estimate_share(of, (a.is_found(k) for a in of)) for k in depths}
        for row, of in groups.items()
    }


def measure_removal(answers: Sequence[Answer]) -> dict[str, Estimate]:
    """How well words and a minus are answered.

    Whether the first hit is right; whether one of the first ten shows the unwanted; and how many of
    the first ten are right, of as many as could be.
    """
    wanted = (
        len(a.query.right.intersection(a.places)) / min(len(a.query.right), DEPTH) for a in answers
    )
    unwanted = (bool(a.query.wrong.intersection(a.places)) for a in answers)
    return {
        "first is right": estimate_share(answers, (a.is_found(1) for a in answers)),
        "unwanted among ten": estimate_share(answers, unwanted),
        "right among ten": estimate_share(answers, wanted),
    }


def measure_strength_words(answers: Sequence[Answer]) -> Figures:
    """How many of the first ten hits have each word, and how many of those are right."""
    hits = [
        (word, answer, place in answer.query.right)
        for answer in answers
        for place, word in zip(answer.places, answer.words, strict=True)
    ]
    figures: Figures = {}
    for word in dict.fromkeys(word for word, _, _ in hits):
        of = [(answer, right) for w, answer, right in hits if w == word]
        figures[word or "no claim"] = {
            "of the hits": [100 * len(of) / len(hits)],
            "right": estimate_share([answer for answer, _ in of], (right for _, right in of)),
        }
    return figures


def render_figures(corner: str, figures: Figures, before: Figures | None = None) -> str:
    """A table in Markdown; with `before`, each cell has both values."""
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    rows = [
        [name, *(_render_cell(row.get(c), _find_before(before, name, c)) for c in columns)]
        for name, row in figures.items()
    ]
    return render_table([corner, *columns], rows)


def _find_before(before: Figures | None, name: str, column: str) -> Estimate | None:
    """The figure before; the number of queries is the same."""
    return (before or {}).get(name, {}).get(column) if column != "of" else None


def _render_cell(value: Estimate | None, before: Estimate | None) -> str:
    if value is None:
        return ""
    text = _render_number(value[0])
    if before is not None:
        text = f"{_render_number(before[0])} → {text}"
    return f"{text} ({value[1]:.0f}-{value[2]:.0f})" if len(value) > 1 else text


def _render_number(value: float) -> str:
    return f"{value:.3f}" if 0 < value < 1 else f"{value:.1f}".removesuffix(".0")


def select_answers(answers: Iterable[Answer], **fields: str) -> list[Answer]:
    """Those whose query has these values, such as `language="en"`."""
    wanted: Mapping[str, str] = fields
    return [a for a in answers if all(getattr(a.query, k) == v for k, v in wanted.items())]
