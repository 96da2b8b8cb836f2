"""The report of an evaluation as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol, TypeVar

from finetune.evaluation.estimates import MetricEstimate
from finetune.evaluation.html import (
    escape_markdown,
    render_figure,
    render_markdown_table,
    render_page,
    render_table,
)
from finetune.evaluation.metrics import SPEARMAN
from finetune.evaluation.plots import Bar, format_value, render_bars
from finetune.evaluation.query_results import QueryResult
from finetune.evaluation.report import EvaluationReport

MAX_WORST = 12  # queries that are shown
MAX_FOUND = 5  # documents that are shown of each

NOTE = (
    "Figures are percent, in brackets the 95 % interval of a bootstrap over items: all queries "
    "about one item are drawn together. A right answer that ties with a wrong "
    "one counts as below it."
)
NOTE_SPEARMAN = (
    "Figures are 100 times Spearman's correlation, in brackets the 95 % interval of a bootstrap "
    "over pairs."
)
NOTE_MACRO = "Figures over all are the unweighted mean of the data sets."


def format_headline(report: EvaluationReport) -> str:
    """recall@10 43.2 (40.1 to 46.3)"""
    return f"{report.main} {format_estimate(report.metrics[report.main])}"


def format_estimate(estimate: MetricEstimate) -> str:
    return f"{format_value(estimate.mean)} ({format_value(estimate.low)} to {format_value(estimate.high)})"


def metric_table(report: EvaluationReport) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of figures: all, the means, each group."""
    head = ["", "queries", *report.metrics]
    rows = [_row("all", str(report.benchmark.queries), report.metrics, report)]
    rows += [_row(f"mean of {name}", "", metrics, report) for name, metrics in report.means.items()]
    if len(report.groups) > 1:
        rows += [
            _row(name, str(group.queries), group.metrics, report)
            for name, group in name_groups(report.groups)
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


def name_groups(groups: Sequence[G]) -> list[tuple[str, G]]:
    """Each group with its name, which has the data set in it where there are several."""
    several = len({group.dataset for group in groups}) > 1
    return [
        (format_group(group.direction, group.language, group.dataset if several else None), group)
        for group in groups
    ]


def format_group(direction: str, language: str | None, dataset: str | None) -> str:
    """t2i de, or with the data set before it."""
    return " ".join(part for part in (dataset, direction, language) if part)


def _row(
    name: str, count: str, metrics: Mapping[str, MetricEstimate], report: EvaluationReport
) -> list[str]:
    """The interval of the main metric alone, or the table would be too wide to read."""
    cells = [
        format_estimate(one) if metric == report.main else format_value(one.mean)
        for metric, one in metrics.items()
    ]
    return [name, count, *cells]


def report_notes(report: EvaluationReport) -> str:
    told = NOTE_SPEARMAN if report.main == SPEARMAN else NOTE
    return f"{told} {NOTE_MACRO}" if report.benchmark.macro else told


def describe_benchmark(report: EvaluationReport) -> str:
    one = report.benchmark
    return f"{one.queries} queries, {one.documents} documents, from {one.source}; {report.created}"


def render_report_markdown(report: EvaluationReport) -> str:
    """report.md"""
    head, rows = metric_table(report)
    worst = [
        [answer.id, _format_rank(answer), answer.language or "", answer.text or answer.image or ""]
        for answer in find_hardest(report.answers)
    ]
    hard = f"\n## Hardest queries\n\n{render_markdown_table(['query', 'place', 'language', ''], worst, 4)}"
    return (
        f"# {escape_markdown(report.model.name)} on {escape_markdown(report.benchmark.name)}\n\n"
        f"**{format_headline(report)}**\n\n{escape_markdown(describe_benchmark(report))}\n\n"
        f"{render_markdown_table(head, rows)}\n{report_notes(report)}\n" + (hard if worst else "")
    )


def render_report_html(report: EvaluationReport) -> str:
    """report.html"""
    head, rows = metric_table(report)
    title = f"{report.model.name} on {report.benchmark.name}"
    worst = find_hardest(report.answers)
    hard = "<h2>Hardest queries</h2>" + "".join(map(_render_query, worst)) if worst else ""
    return render_page(
        title,
        f"<h1>{escape(title)}</h1><p><strong>{escape(format_headline(report))}</strong></p>"
        f'<p class="quiet">{escape(describe_benchmark(report))}</p>{_render_plots(report)}'
        f'<h2>Figures</h2>{render_table(head, rows)}<p class="quiet">{escape(report_notes(report))}</p>{hard}',
    )


def _render_plots(report: EvaluationReport) -> str:
    """The main metric, a plot a direction."""
    plots = []
    for direction in dict.fromkeys(group.direction for group in report.groups):
        rows = [
            Bar(name.replace(direction, "").strip() or "all", one.mean, one.low, one.high)
            for name, group in name_groups(report.groups)
            if group.direction == direction
            for one in (group.metrics[report.main],)
        ]
        plots.append(render_bars(f"{report.main}, {direction}", rows))
    return "".join(plots)


def find_hardest(results: Sequence[QueryResult], count: int = MAX_WORST) -> list[QueryResult]:
    """Those whose first right answer stands lowest; none that stands first."""
    missed = [answer for answer in results if answer.rank is not None and answer.rank > 1]
    return sorted(missed, key=lambda answer: -(answer.rank or 0))[:count]


def _format_rank(answer: QueryResult) -> str:
    return str(answer.rank)


def _render_query(answer: QueryResult) -> str:
    name = format_group(answer.direction, answer.language, answer.dataset or None)
    return (
        f"<article><p>Query {escape(answer.id)}, {escape(name)}: the right answer stands at place "
        f"{_format_rank(answer)}.</p>{_render_result_row(answer)}</article>"
    )


def _render_result_row(answer: QueryResult) -> str:
    """The query, a right answer, and what was found."""
    asked = render_figure({"text": answer.text, "image": answer.image}, "query")
    right = "".join(render_figure(ref, "right answer", True) for ref in answer.relevant[:1])
    return f'<div class="row">{asked}{right}{render_found_documents(answer)}</div>'


def render_found_documents(answer: QueryResult) -> str:
    """The best five documents."""
    return "".join(
        render_figure(ref, f"{place}. {score:.3f}", ref in answer.relevant)
        for place, (ref, score) in enumerate(
            list(zip(answer.found, answer.scores, strict=True))[:MAX_FOUND], 1
        )
    )
