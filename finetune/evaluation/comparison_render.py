"""The comparison of two models as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from finetune.evaluation.comparison import (
    ALPHA,
    MAX_WORST,
    Comparison,
    describe_verdict,
    find_regressions,
)
from finetune.evaluation.estimates import MetricChange
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
from finetune.evaluation.report_render import format_group, name_groups, render_found_documents

MAX_SHOWN = 12  # queries that are shown
HEAD = ["", "queries", "before", "after", "difference", "95 % interval", "p"]
METRIC_HEAD = ["", *HEAD[2:]]

NOTE = (
    "Figures are percent. Intervals are of a paired bootstrap over items, p values of a paired "
    "randomisation test that tosses the sign of each item's difference; all queries about one item "
    "go together. The p values of single groups are not adjusted for the number of groups."
)
NOTE_SPEARMAN = (
    "Figures are 100 times Spearman's correlation. Intervals are of a paired bootstrap over pairs, "
    "p values of a randomisation test that tosses which model a pair's two scores belong to."
)


def format_headline(comparison: Comparison) -> str:
    """What the comparison comes to, in words."""
    change = comparison.overall[comparison.main]
    return (
        f"{comparison.main} {format_value(change.before)} before, {format_value(change.after)} after: "
        f"{describe_verdict(change)} ({format_difference(change)}, p {format_p_value(change.p)})"
    )


def describe_groups(comparison: Comparison) -> str:
    """Where it is better and where worse, in words; "" for a single group."""
    if len(comparison.groups) < 2:
        return ""
    told: dict[str, list[str]] = {}
    for name, group in name_groups(comparison.groups):
        told.setdefault(describe_verdict(group.metrics[comparison.main]), []).append(name)
    return "; ".join(f"{words}: {', '.join(names)}" for words, names in told.items())


def format_difference(change: MetricChange) -> str:
    """+3.1 (1.2 to 5.0)"""
    return (
        f"{_format_signed(change.difference)}, 95 % interval {_format_signed(change.low)} to "
        f"{_format_signed(change.high)}"
    )


def format_p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def main_metric_rows(comparison: Comparison) -> list[list[str]]:
    """The table of the main metric: all, the means, each group."""
    main = comparison.main
    found = [_row("all", str(comparison.benchmark.queries), comparison.overall[main])]
    found += [
        _row(f"mean of {name}", "", changes[main]) for name, changes in comparison.means.items()
    ]
    if len(comparison.groups) > 1:
        found += [
            _row(name, str(group.queries), group.metrics[main])
            for name, group in name_groups(comparison.groups)
        ]
    return found


def all_metric_rows(comparison: Comparison) -> list[list[str]]:
    """All metrics over all questions, under `METRIC_HEAD`."""
    rows = (_row(name, "", change) for name, change in comparison.overall.items())
    return [[name, *cells] for name, _, *cells in rows]


def _row(name: str, count: str, change: MetricChange) -> list[str]:
    return [
        name,
        count,
        format_value(change.before),
        format_value(change.after),
        _format_signed(change.difference),
        f"{_format_signed(change.low)} to {_format_signed(change.high)}",
        format_p_value(change.p),
    ]


def _format_signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def comparison_notes(comparison: Comparison) -> str:
    return NOTE_SPEARMAN if comparison.main == SPEARMAN else NOTE


def render_comparison_markdown(comparison: Comparison) -> str:
    """comparison.md"""
    lower = [
        [
            before.id,
            f"{before.rank} -> {after.rank}",
            before.language or "",
            before.text or before.image or "",
        ]
        for before, after in find_regressions(comparison.pairs)[:MAX_WORST]
    ]
    fell = (
        (
            "\n## Queries that fell most\n\n"
            + render_markdown_table(["query", "place", "language", ""], lower, 4)
        )
        if lower
        else ""
    )
    groups = describe_groups(comparison)
    return (
        f"# {escape_markdown(comparison.after.name)} after {escape_markdown(comparison.before.name)}, on "
        f"{escape_markdown(comparison.benchmark.name)}\n\n**{format_headline(comparison)}**\n\n"
        + (f"{escape_markdown(groups)}\n\n" if groups else "")
        + f"## {comparison.main}\n\n{render_markdown_table(HEAD, main_metric_rows(comparison))}\n"
        f"## All metrics\n\n{render_markdown_table(METRIC_HEAD, all_metric_rows(comparison))}\n{comparison_notes(comparison)}\n{fell}"
    )


def render_comparison_html(comparison: Comparison) -> str:
    """comparison.html"""
    title = f"{comparison.after.name} after {comparison.before.name}"
    lower = find_regressions(comparison.pairs)[:MAX_SHOWN]
    fell = (
        "<h2>Queries that fell most</h2>" + "".join(_render_query(*p) for p in lower)
        if lower
        else ""
    )
    return render_page(
        title,
        f"<h1>{escape(title)}</h1><p class=quiet>{escape(_describe_benchmark(comparison))}</p>"
        f"<p><strong>{escape(format_headline(comparison))}</strong></p><p>{escape(describe_groups(comparison))}</p>"
        f"{_render_plots(comparison)}<h2>{escape(comparison.main)}</h2>{render_table(HEAD, main_metric_rows(comparison))}"
        f"<h2>All metrics</h2>{render_table(METRIC_HEAD, all_metric_rows(comparison))}"
        f"<p class=quiet>{escape(comparison_notes(comparison))}</p>{fell}",
    )


def _describe_benchmark(comparison: Comparison) -> str:
    one = comparison.benchmark
    return (
        f"{one.name}: {one.queries} queries, {one.documents} documents, from {one.source}; "
        f"{comparison.created}"
    )


def _render_plots(comparison: Comparison) -> str:
    """The differences of the main metric, a bar a group."""
    changes: Mapping[str, MetricChange] = {
        "all": comparison.overall[comparison.main],
        **{
            name: group.metrics[comparison.main]
            for name, group in name_groups(comparison.groups)
            if len(comparison.groups) > 1
        },
    }
    drawn = [
        Bar(name, one.difference, one.low, one.high, _bar_class(one))
        for name, one in changes.items()
    ]
    return render_bars(f"difference in {comparison.main}, points", drawn)


def _bar_class(change: MetricChange) -> str:
    if change.p >= ALPHA:
        return "before"
    return "good" if change.difference > 0 else "bad"


def _render_query(before: QueryResult, after: QueryResult) -> str:
    name = format_group(before.direction, before.language, before.dataset or None)
    asked = render_figure({"text": before.text, "image": before.image}, "query")
    right = "".join(render_figure(ref, "right answer", True) for ref in before.relevant[:1])
    return (
        f"<article><p>Query {escape(before.id)}, {escape(name)}: place {before.rank} before, "
        f'{after.rank} now.</p><div class="row">{asked}{right}</div>'
        f'<p class="quiet">Found before</p><div class="row">{render_found_documents(before)}</div>'
        f'<p class="quiet">Found now</p><div class="row">{render_found_documents(after)}</div></article>'
    )
