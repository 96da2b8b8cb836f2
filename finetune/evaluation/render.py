"""Renders evaluations and comparisons as Markdown and HTML, loss curves as SVG, and model cards.

The templates are in templates/. An HTML page is one file: style, plots and thumbnails are in it.
"""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from embedder.escaping import escape_markdown, replace_unprintable
from embedder.files import make_private_dir, write_file
from finetune.data.pairs import Side
from finetune.errors import DataError
from finetune.evaluation.report import (
    COMPARISON,
    QUERIES,
    REPORT,
    Comparison,
    EvaluationReport,
    Metric,
    MetricChange,
    MetricEstimate,
    MetricGroup,
    QueryResult,
    comparison_to_dict,
    find_hardest,
    find_regressions,
    report_to_dict,
    write_query_results,
)

MAX_QUERIES = 12  # queries shown with their documents
MAX_LISTED = 20  # regressions listed in Markdown
THUMBNAIL_SIDE = 112  # pixels
JPEG_QUALITY = 70

COMPARISON_HEAD = ["", "queries", "before", "after", "difference", "95 % interval", "p"]


def write_report_files(report: EvaluationReport, folder: Path) -> None:
    """Write report.json, queries.jsonl, report.md and report.html; raises `OSError`."""
    head, rows = metric_table(report)
    values: dict[str, Any] = {
        "report": report,
        "headline": f"{report.main} {format_estimate(report.metrics[report.main])}",
        "head": head,
        "rows": rows,
        "hardest": find_hardest(report.results, MAX_QUERIES),
        "plots": _report_plots(report),
    }
    make_private_dir(folder)
    write_query_results(folder / QUERIES, report.results)
    _write_pages(values, folder / REPORT, report_to_dict(report))


def write_comparison_files(comparison: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.md and comparison.html; raises `OSError`."""
    values: dict[str, Any] = {
        "comparison": comparison,
        "headline": comparison_headline(comparison),
        "groups": describe_groups(comparison),
        "head": COMPARISON_HEAD,
        "rows": comparison_table(comparison),
        "metric_rows": [
            [name, *change_cells(change)] for name, change in comparison.overall.items()
        ],
        "regressions": find_regressions(comparison.pairs)[:MAX_LISTED],
        "max_queries": MAX_QUERIES,
        "bars": _comparison_bars(comparison),
    }
    make_private_dir(folder)
    _write_pages(values, folder / COMPARISON, comparison_to_dict(comparison))


def render(name: str, **values: Any) -> str:
    """Render the template `name`, such as "report.html"."""
    return _environment().get_template(f"{name}.jinja").render(values)


def metric_table(report: EvaluationReport) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the table of metrics: all queries, the means, each group."""

    def format_cell(name: str, value: MetricEstimate) -> str:
        # the interval of the main metric alone, or the table would be too wide to read
        return format_estimate(value) if name == report.main else format_percent(value.mean)

    rows = [
        [label, count, *(format_cell(name, value) for name, value in metrics.items())]
        for label, count, metrics in _table_rows(report, report.metrics)
    ]
    return ["", "queries", *report.metrics], rows


def comparison_table(comparison: Comparison) -> list[list[str]]:
    """The rows of the table of the main metric, under `COMPARISON_HEAD`."""
    return [
        [label, count, *change_cells(changes[comparison.main])]
        for label, count, changes in _table_rows(comparison, comparison.overall)
    ]


def _table_rows(
    report: EvaluationReport | Comparison, overall: Mapping[str, Metric]
) -> list[tuple[str, str, Mapping[str, Metric]]]:
    """Label, number of queries and metrics of all queries, of the means, of each group."""
    means: Mapping[str, Any] = report.means
    groups: Sequence[MetricGroup[Any]] = report.groups if len(report.groups) > 1 else ()
    rows = [("all", str(report.benchmark.queries), overall)]
    rows += [(f"mean of {name}", "", metrics) for name, metrics in means.items()]
    rows += [(name, str(group.queries), group.metrics) for name, group in name_groups(groups)]
    return rows


def comparison_headline(comparison: Comparison) -> str:
    """What the comparison amounts to, in words."""
    change = comparison.overall[comparison.main]
    return (
        f"{comparison.main} {format_percent(change.before)} before, "
        f"{format_percent(change.after)} after: {change.verdict} "
        f"({format_signed(change.difference)}, 95 % interval {format_signed(change.low)} to "
        f"{format_signed(change.high)}, p {format_p_value(change.p)})"
    )


def describe_groups(comparison: Comparison) -> str:
    """Which groups became better and which worse, in words; "" for a single group."""
    if len(comparison.groups) < 2:
        return ""
    names: dict[str, list[str]] = {}
    for name, group in name_groups(comparison.groups):
        names.setdefault(group.metrics[comparison.main].verdict, []).append(name)
    return "; ".join(f"{verdict}: {', '.join(groups)}" for verdict, groups in names.items())


def report_note(report: EvaluationReport) -> str:
    """How to read the metrics."""
    return render("report_note", report=report).strip()


def describe_absent(report: EvaluationReport) -> str:
    """Which data sets a benchmark has that were not evaluated, in words; "" if all were."""
    names = {name for members in report.benchmark.means.values() for name in members}
    absent = sorted(names - {group.dataset for group in report.groups})
    if not absent:
        return ""
    return (
        f"{len(absent)} of the {len(names)} data sets of {report.benchmark.name} were not "
        f"evaluated, so these are not its published means: {', '.join(absent)}."
    )


def name_groups(groups: Sequence[MetricGroup[Metric]]) -> list[tuple[str, MetricGroup[Metric]]]:
    """Each group with its name, which includes the data set where there are several."""
    several = len({group.dataset for group in groups}) > 1
    return [(format_group(group, with_dataset=several), group) for group in groups]


def format_group(group: MetricGroup[Any] | QueryResult, *, with_dataset: bool = True) -> str:
    """t2i de, or with the data set before it."""
    parts = (group.dataset if with_dataset else None, group.direction, group.language)
    return " ".join(part for part in parts if part)


def format_percent(value: float) -> str:
    """0.4321 -> 43.2"""
    return f"{100 * value:.1f}"


def format_signed(value: float) -> str:
    """0.031 -> +3.1"""
    return f"{100 * value:+.1f}"


def format_p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def format_estimate(estimate: MetricEstimate) -> str:
    """43.2 (40.1 to 46.3), or 43.2 without an interval."""
    mean = format_percent(estimate.mean)
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} ({format_percent(estimate.low)} to {format_percent(estimate.high)})"


def format_code(text: object) -> Markup:
    """A span of code in Markdown, which no backtick in `text` ends."""
    line = replace_unprintable(" ".join(str(text).split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return Markup(f"{fence} {line} {fence}" if "`" in line else f"`{line}`")


def format_command(command: Sequence[object]) -> Markup:
    """A line for a shell, in a block of code."""
    return Markup(replace_unprintable(shlex.join(map(str, command))))


def render_loss_curve(points: Sequence[tuple[int, float]]) -> str:
    """(step, loss) in the order of steps -> SVG that follows the light or dark of its page."""
    return render("loss.svg", points=points or [(0, 0.0)])


def change_cells(change: MetricChange) -> list[str]:
    """Before, after, difference, interval, p."""
    return [
        format_percent(change.before),
        format_percent(change.after),
        format_signed(change.difference),
        f"{format_signed(change.low)} to {format_signed(change.high)}",
        format_p_value(change.p),
    ]


def _report_plots(report: EvaluationReport) -> list[tuple[str, list[dict[str, Any]]]]:
    """The main metric, one plot for each direction."""
    plots: dict[str, list[dict[str, Any]]] = {}
    for name, group in name_groups(report.groups):
        value = group.metrics[report.main]
        label = name.replace(group.direction, "").strip() or "all"
        plots.setdefault(group.direction, []).append(_bar(label, value.mean, value, "plain"))
    return [(f"{report.main}, {direction}", bars) for direction, bars in plots.items()]


def _comparison_bars(comparison: Comparison) -> list[dict[str, Any]]:
    """The difference in the main metric, over all queries and of each group."""
    changes = {"all": comparison.overall[comparison.main]}
    if len(comparison.groups) > 1:
        for name, group in name_groups(comparison.groups):
            changes[name] = group.metrics[comparison.main]
    kinds = {0: "before", 1: "good", -1: "bad"}
    return [_bar(name, c.difference, c, kinds[c.sign]) for name, c in changes.items()]


def _bar(
    name: str, value: float, interval: MetricEstimate | MetricChange, kind: str
) -> dict[str, Any]:
    return {"name": name, "value": value, "low": interval.low, "high": interval.high, "kind": kind}


def _write_pages(values: dict[str, Any], path: Path, fields: dict[str, Any]) -> None:
    """Write the JSON file `path`, and beside it the Markdown and HTML pages of that name."""
    for suffix in (".md", ".html"):
        write_file(path.with_suffix(suffix), render(f"{path.stem}{suffix}", **values))
    write_file(path, json.dumps(fields, ensure_ascii=False, indent=1) + "\n")


@lru_cache(maxsize=512)
def _encode_thumbnail(path: str) -> str | None:
    """A data URL of a small JPEG; None where the image can no longer be read."""
    try:
        (image,) = Side(image=path).to_input(THUMBNAIL_SIDE).images
    except DataError:
        return None
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "md": lambda text: Markup(escape_markdown(text)),
        "code": format_code,
        "command": format_command,
        "percent": format_percent,
        "group": format_group,
    }
    environment.globals |= {"thumbnail": _encode_thumbnail, "describe_absent": describe_absent}
    return environment
