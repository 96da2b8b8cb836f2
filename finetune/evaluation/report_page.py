"""The report of an evaluation as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol, TypeVar

from finetune.evaluation.answers import Answer
from finetune.evaluation.estimates import Estimate
from finetune.evaluation.metrics import SPEARMAN
from finetune.evaluation.page import markdown_cell, markdown_table, page, shown, table
from finetune.evaluation.plots import Bar, bars, figure
from finetune.evaluation.report import Report

WORST = 12  # queries that are shown
FOUND = 5  # documents that are shown of each

NOTE = (
    "Figures are percent, in brackets the 95 % interval of a bootstrap over items: all queries "
    "about one item are drawn together. A right answer that ties with a wrong "
    "one counts as below it."
)
NOTE_SPEARMAN = (
    "Figures are 100 times Spearman's correlation, in brackets the 95 % interval of a bootstrap "
    "over pairs."
)
MACRO = "Figures over all are the unweighted mean of the data sets."


def headline(made: Report) -> str:
    """recall@10 43.2 (40.1 to 46.3)"""
    return f"{made.main} {spoken(made.metrics[made.main])}"


def spoken(estimate: Estimate) -> str:
    return f"{figure(estimate.mean)} ({figure(estimate.low)} to {figure(estimate.high)})"


def figures(made: Report) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of figures: all, the means, each group."""
    head = ["", "queries", *made.metrics]
    rows = [_row("all", str(made.benchmark.queries), made.metrics, made)]
    rows += [_row(f"mean of {name}", "", metrics, made) for name, metrics in made.means.items()]
    if len(made.groups) > 1:
        rows += [
            _row(name, str(group.queries), group.metrics, made)
            for name, group in named(made.groups)
        ]
    return head, rows


class Grouped(Protocol):
    """What a group of questions has in common."""

    @property
    def direction(self) -> str: ...
    @property
    def language(self) -> str | None: ...
    @property
    def dataset(self) -> str | None: ...


G = TypeVar("G", bound=Grouped)


def named(groups: Sequence[G]) -> list[tuple[str, G]]:
    """Each group with its name, which has the data set in it where there are several."""
    several = len({group.dataset for group in groups}) > 1
    return [
        (group_name(group.direction, group.language, group.dataset if several else None), group)
        for group in groups
    ]


def group_name(direction: str, language: str | None, dataset: str | None) -> str:
    """t2i de, or with the data set before it."""
    return " ".join(part for part in (dataset, direction, language) if part)


def _row(name: str, count: str, metrics: Mapping[str, Estimate], made: Report) -> list[str]:
    """The interval of the main metric alone, or the table would be too wide to read."""
    cells = [
        spoken(one) if metric == made.main else figure(one.mean) for metric, one in metrics.items()
    ]
    return [name, count, *cells]


def notes(made: Report) -> str:
    told = NOTE_SPEARMAN if made.main == SPEARMAN else NOTE
    return f"{told} {MACRO}" if made.benchmark.macro else told


def about(made: Report) -> str:
    one = made.benchmark
    return f"{one.queries} queries, {one.documents} documents, from {one.source}; {made.created}"


def report_markdown(made: Report) -> str:
    """report.md"""
    head, rows = figures(made)
    worst = [
        [answer.id, _place(answer), answer.language or "", answer.text or answer.image or ""]
        for answer in worst_answers(made.answers)
    ]
    hard = f"\n## Hardest queries\n\n{markdown_table(['query', 'place', 'language', ''], worst, 4)}"
    return (
        f"# {markdown_cell(made.model.name)} on {markdown_cell(made.benchmark.name)}\n\n"
        f"**{headline(made)}**\n\n{markdown_cell(about(made))}\n\n"
        f"{markdown_table(head, rows)}\n{notes(made)}\n" + (hard if worst else "")
    )


def report_html(made: Report) -> str:
    """report.html"""
    head, rows = figures(made)
    title = f"{made.model.name} on {made.benchmark.name}"
    worst = worst_answers(made.answers)
    hard = "<h2>Hardest queries</h2>" + "".join(map(_article, worst)) if worst else ""
    return page(
        title,
        f"<h1>{escape(title)}</h1><p><strong>{escape(headline(made))}</strong></p>"
        f'<p class="quiet">{escape(about(made))}</p>{_plots(made)}'
        f'<h2>Figures</h2>{table(head, rows)}<p class="quiet">{escape(notes(made))}</p>{hard}',
    )


def _plots(made: Report) -> str:
    """The main metric, a plot a direction."""
    plots = []
    for direction in dict.fromkeys(group.direction for group in made.groups):
        rows = [
            Bar(name.replace(direction, "").strip() or "all", one.mean, one.low, one.high)
            for name, group in named(made.groups)
            if group.direction == direction
            for one in (group.metrics[made.main],)
        ]
        plots.append(bars(f"{made.main}, {direction}", rows))
    return "".join(plots)


def worst_answers(given: Sequence[Answer], count: int = WORST) -> list[Answer]:
    """Those whose first right answer stands lowest; none that stands first."""
    missed = [answer for answer in given if answer.rank is not None and answer.rank > 1]
    return sorted(missed, key=lambda answer: -(answer.rank or 0))[:count]


def _place(answer: Answer) -> str:
    return str(answer.rank)


def _article(answer: Answer) -> str:
    name = group_name(answer.direction, answer.language, answer.dataset or None)
    return (
        f"<article><p>Query {escape(answer.id)}, {escape(name)}: the right answer stands at place "
        f"{_place(answer)}.</p>{answer_row(answer)}</article>"
    )


def answer_row(answer: Answer) -> str:
    """The query, a right answer, and what was found."""
    asked = shown({"text": answer.text, "image": answer.image}, "query")
    right = "".join(shown(ref, "right answer", True) for ref in answer.relevant[:1])
    return f'<div class="row">{asked}{right}{found_row(answer)}</div>'


def found_row(answer: Answer) -> str:
    """The best five documents."""
    return "".join(
        shown(ref, f"{place}. {score:.3f}", ref in answer.relevant)
        for place, (ref, score) in enumerate(
            list(zip(answer.found, answer.scores, strict=True))[:FOUND], 1
        )
    )
