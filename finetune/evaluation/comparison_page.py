"""The comparison of two models as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from finetune.evaluation.answers import Answer
from finetune.evaluation.comparison import CHANCE, WORST, Comparison, fallen, verdict
from finetune.evaluation.estimates import Change
from finetune.evaluation.metrics import SPEARMAN
from finetune.evaluation.page import markdown_cell, markdown_table, page, shown, table
from finetune.evaluation.plots import Bar, bars, figure
from finetune.evaluation.report_page import found_row, group_name, named

SHOWN = 12  # queries that are shown
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


def headline(made: Comparison) -> str:
    """What the comparison comes to, in words."""
    change = made.overall[made.main]
    return (
        f"{made.main} {figure(change.before)} before, {figure(change.after)} after: "
        f"{verdict(change)} ({spoken_difference(change)}, p {spoken_p(change.p)})"
    )


def by_groups(made: Comparison) -> str:
    """Where it is better and where worse, in words; "" for a single group."""
    if len(made.groups) < 2:
        return ""
    told: dict[str, list[str]] = {}
    for name, group in named(made.groups):
        told.setdefault(verdict(group.metrics[made.main]), []).append(name)
    return "; ".join(f"{words}: {', '.join(names)}" for words, names in told.items())


def spoken_difference(change: Change) -> str:
    """+3.1 (1.2 to 5.0)"""
    return (
        f"{_signed(change.difference)}, 95 % interval {_signed(change.low)} to "
        f"{_signed(change.high)}"
    )


def spoken_p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def rows(made: Comparison) -> list[list[str]]:
    """The table of the main metric: all, the means, each group."""
    main = made.main
    found = [_row("all", str(made.benchmark.queries), made.overall[main])]
    found += [_row(f"mean of {name}", "", changes[main]) for name, changes in made.means.items()]
    if len(made.groups) > 1:
        found += [
            _row(name, str(group.queries), group.metrics[main])
            for name, group in named(made.groups)
        ]
    return found


def metric_rows(made: Comparison) -> list[list[str]]:
    """All metrics over all questions, under `METRIC_HEAD`."""
    rows = (_row(name, "", change) for name, change in made.overall.items())
    return [[name, *cells] for name, _, *cells in rows]


def _row(name: str, count: str, change: Change) -> list[str]:
    return [
        name,
        count,
        figure(change.before),
        figure(change.after),
        _signed(change.difference),
        f"{_signed(change.low)} to {_signed(change.high)}",
        spoken_p(change.p),
    ]


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def notes(made: Comparison) -> str:
    return NOTE_SPEARMAN if made.main == SPEARMAN else NOTE


def comparison_markdown(made: Comparison) -> str:
    """comparison.md"""
    lower = [
        [
            before.id,
            f"{before.rank} -> {after.rank}",
            before.language or "",
            before.text or before.image or "",
        ]
        for before, after in fallen(made.pairs)[:WORST]
    ]
    fell = (
        (
            "\n## Queries that fell most\n\n"
            + markdown_table(["query", "place", "language", ""], lower, 4)
        )
        if lower
        else ""
    )
    groups = by_groups(made)
    return (
        f"# {markdown_cell(made.after.name)} after {markdown_cell(made.before.name)}, on "
        f"{markdown_cell(made.benchmark.name)}\n\n**{headline(made)}**\n\n"
        + (f"{markdown_cell(groups)}\n\n" if groups else "")
        + f"## {made.main}\n\n{markdown_table(HEAD, rows(made))}\n"
        f"## All metrics\n\n{markdown_table(METRIC_HEAD, metric_rows(made))}\n{notes(made)}\n{fell}"
    )


def comparison_html(made: Comparison) -> str:
    """comparison.html"""
    title = f"{made.after.name} after {made.before.name}"
    lower = fallen(made.pairs)[:SHOWN]
    fell = "<h2>Queries that fell most</h2>" + "".join(_article(*p) for p in lower) if lower else ""
    return page(
        title,
        f"<h1>{escape(title)}</h1><p class=quiet>{escape(_about(made))}</p>"
        f"<p><strong>{escape(headline(made))}</strong></p><p>{escape(by_groups(made))}</p>"
        f"{_plots(made)}<h2>{escape(made.main)}</h2>{table(HEAD, rows(made))}"
        f"<h2>All metrics</h2>{table(METRIC_HEAD, metric_rows(made))}"
        f"<p class=quiet>{escape(notes(made))}</p>{fell}",
    )


def _about(made: Comparison) -> str:
    one = made.benchmark
    return (
        f"{one.name}: {one.queries} queries, {one.documents} documents, from {one.source}; "
        f"{made.created}"
    )


def _plots(made: Comparison) -> str:
    """The differences of the main metric, a bar a group."""
    changes: Mapping[str, Change] = {
        "all": made.overall[made.main],
        **{
            name: group.metrics[made.main]
            for name, group in named(made.groups)
            if len(made.groups) > 1
        },
    }
    drawn = [
        Bar(name, one.difference, one.low, one.high, _tone(one)) for name, one in changes.items()
    ]
    return bars(f"difference in {made.main}, points", drawn)


def _tone(change: Change) -> str:
    if change.p >= CHANCE:
        return "before"
    return "good" if change.difference > 0 else "bad"


def _article(before: Answer, after: Answer) -> str:
    name = group_name(before.direction, before.language, before.dataset or None)
    asked = shown({"text": before.text, "image": before.image}, "query")
    right = "".join(shown(ref, "right answer", True) for ref in before.relevant[:1])
    return (
        f"<article><p>Query {escape(before.id)}, {escape(name)}: place {before.rank} before, "
        f'{after.rank} now.</p><div class="row">{asked}{right}</div>'
        f'<p class="quiet">Found before</p><div class="row">{found_row(before)}</div>'
        f'<p class="quiet">Found now</p><div class="row">{found_row(after)}</div></article>'
    )
