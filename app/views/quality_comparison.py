"""Before and after: what a run changed, over all queries and by language and direction."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.runs import Result, read_result
from app.views.messages import show_table
from embedder.escaping import escape_markdown
from finetune.errors import DataError
from finetune.evaluation.report import EvaluationReport, MetricChange
from finetune.run_dir import RunDir, RunInfo

if TYPE_CHECKING:
    from altair import LayerChart

TONES = {1: "good", 0: "calm", -1: "bad"}
COLORS = {"before": "#a8a29e", "after": "#0d9488"}  # legible on light and on dark
WHISKER_COLORS = {False: "#57534e", True: "#f5f5f4"}  # on light, on dark
MODALITIES = {"t": "words", "i": "pictures", "it": "pictures with words"}
METRICS = {
    "recall": "the share of a query's relevant documents among the first {k}",
    "hit": "the share of queries with a relevant document among the first {k}",
    "precision": "the share of relevant documents among the first {k}",
    "ndcg": "how well the first {k} are ordered, the best first",
    "map": "the mean precision at each relevant document",
    "mrr": "1 over the rank of the first relevant document",
    "spearman": "the rank correlation of the similarities with people's ratings",
}


def show(run: RunInfo) -> None:
    """Show the section; raises `DataError`."""
    result = select_result(run)
    if result is None:
        return
    name = _select_metric(result)
    _show_headline(result, name)
    for direction in dict.fromkeys(group.direction for group in result.after.groups):
        bars = _make_bars(result, direction, name)
        if bars:
            title = format_direction(direction)
            st.markdown(f"##### {escape_markdown(title)}")
            chart = _draw_bars(bars, name, dark=st.context.theme.type == "dark")
            st.altair_chart(chart, alt=f"{name} of each language, {title}")
    with st.expander("All figures"):
        show_table(_make_table(result))


def select_result(run: RunInfo) -> Result | None:
    """The selected evaluation of a run, or None where it has none; raises `DataError`."""
    folders = RunDir(run.folder).list_evaluations()
    if not folders:
        st.html(
            '<div class="pl-note">This run has not been evaluated yet. <b>Evaluate</b>, above, '
            "measures it on a file of pairs.</div>"
        )
        return None
    if len(folders) == 1:
        return read_result(folders[0])
    key, names = f"result-{run.folder}", {str(folder): folder.name for folder in folders}
    if st.session_state.get(key) not in names:
        st.session_state[key] = str(folders[0])
    chosen = st.selectbox("Evaluation", list(names), format_func=names.__getitem__, key=key)
    return read_result(Path(chosen))


def format_direction(code: str) -> str:
    """`t2i` -> Words to pictures."""
    query, _, document = code.partition("2")
    if query not in MODALITIES or document not in MODALITIES:
        return code
    return f"{MODALITIES[query].capitalize()} to {MODALITIES[document]}"


def describe_metric(name: str) -> str:
    """What a metric measures; empty for one that is not known."""
    kind, _, k = name.partition("@")
    return METRICS.get(kind, "").format(k=k or "ones")


def describe_change(name: str, change: MetricChange) -> str:
    """The change of a metric in two sentences."""
    points, p = 100 * change.difference, "p < 0.001" if change.p < 0.001 else f"p = {change.p:.3f}"
    moved = f"{'rose' if points > 0 else 'fell'} by {abs(points):.1f} points"
    verdict = change.verdict[0].upper() + change.verdict[1:]
    return (
        f"{verdict}: {name} {'did not change' if abs(points) < 0.05 else moved}. "
        f"The 95 % interval of the change is {100 * change.low:+.1f} to {100 * change.high:+.1f} "
        f"({p})."
    )


def _format_percent(share: float) -> str:
    """0.4321 -> 43.2"""
    return f"{100 * share:.1f}"


def _reports(result: Result) -> list[tuple[str, EvaluationReport]]:
    reports = (("before", result.before), ("after", result.after))
    return [(when, report) for when, report in reports if report]


def _select_metric(result: Result) -> str:
    report = result.after
    names = [name for name in report.metrics if result.changes is None or name in result.changes]
    if not names:
        raise DataError(f"{result.folder} has no metrics; evaluate again")
    first = report.main if report.main in names else names[0]
    key = f"metric-{result.folder}"
    chosen = st.pills(
        "Metric", names, default=first, format_func=escape_markdown, key=key, required=True
    )
    return chosen or first


def _show_headline(result: Result, name: str) -> None:
    report, change = result.after, result.changes[name] if result.changes else None
    estimate, meaning = report.metrics[name], describe_metric(name)
    label = name
    if estimate.low is not None and estimate.high is not None:
        interval = f"{_format_percent(estimate.low)} to {_format_percent(estimate.high)}"
        label = f"95 % interval {interval}"
    figures = [(_format_percent(estimate.mean), label)]
    if change:
        figures = [
            (_format_percent(change.before), "before"),
            (_format_percent(change.after), "after"),
            (f"{100 * change.difference:+.1f}", "change"),
        ]
    models = [
        Path(one.model.name).name if one.model.name.startswith("/") else one.model.name
        for _, one in _reports(result)
    ]
    about = report.benchmark
    notes = (
        f"{about.queries:,} queries among {about.documents:,} documents of {about.name}",
        f"{models[0]} before, {models[1]} after" if result.before else models[0],
    )
    html = "".join(f"<div><b>{value}</b><span>{label}</span></div>" for value, label in figures)
    st.html(
        f'<div class="pl-verdict {TONES[change.sign] if change else "calm"}">'
        f'<div class="pl-figures">{html}</div>'
        f"<p><b>{escape(describe_change(name, change) if change else '')}</b></p>"
        f"<p>{escape(f'{name} is {meaning}; 100 is perfect.' if meaning else '')}</p>"
        f'<p class="quiet">{escape(" · ".join(notes))}</p></div>'
    )


def _make_bars(result: Result, direction: str, name: str) -> list[dict[str, Any]]:
    """The bars of one direction, the largest group first: values of 0..100 with intervals."""
    bars = []
    for when, report in _reports(result):
        groups = [g for g in report.groups if g.direction == direction and name in g.metrics]
        with_dataset = len({group.dataset for group in groups}) > 1
        for group in sorted(groups, key=lambda group: -group.queries):
            names = [group.dataset if with_dataset else None, group.language]
            estimate = group.metrics[name]
            bar = {
                "name": " · ".join(filter(None, names)) or "all",
                "when": when,
                "value": 100 * estimate.mean,
                "low": None if estimate.low is None else 100 * estimate.low,
                "high": None if estimate.high is None else 100 * estimate.high,
                "queries": group.queries,
            }
            bars.append(bar)
    return bars


def _draw_bars(bars: Sequence[dict[str, Any]], metric: str, *, dark: bool) -> LayerChart:
    """A row for each name, with a bar before and one after, each with its interval."""
    import altair as alt

    whens = [when for when in COLORS if any(bar["when"] == when for bar in bars)]
    shown = [bar[key] for bar in bars for key in ("value", "low", "high") if bar[key] is not None]
    low = min(0.0, *shown)
    high = max(1.0, *shown)
    domain = (low, 100.0 if high > 50 else high * 1.05)  # below 0 where a correlation is
    colors = alt.Scale(domain=whens, range=[COLORS[when] for when in whens])
    base = alt.Chart(alt.InlineData(values=list(bars))).encode(
        y=alt.Y(
            "name:N",
            sort=list(dict.fromkeys(bar["name"] for bar in bars)),
            title=None,
            axis=alt.Axis(ticks=False, domain=False),
        ),
        yOffset=alt.YOffset("when:N", sort=whens),
        tooltip=[
            alt.Tooltip("name:N", title="group"),
            alt.Tooltip("when:N"),
            alt.Tooltip("value:Q", title=metric, format=".1f"),
            alt.Tooltip("low:Q", title="from", format=".1f"),
            alt.Tooltip("high:Q", title="to", format=".1f"),
            alt.Tooltip("queries:Q", format=","),
        ],
    )
    legend = alt.Legend(orient="top", title=None) if len(whens) > 1 else None
    filled = base.mark_bar(cornerRadiusEnd=3).encode(
        x=alt.X("value:Q", title=f"{metric}, of 100", scale=alt.Scale(domain=domain)),
        color=alt.Color("when:N", scale=colors, legend=legend),
    )
    whiskers = base.mark_rule(color=WHISKER_COLORS[dark], strokeWidth=1.5)
    intervals = whiskers.encode(x="low:Q", x2="high:Q")
    chart: LayerChart = (filled + intervals).properties(height=alt.Step(15, **{"for": "offset"}))
    return chart


def _make_table(result: Result) -> list[dict[str, object]]:
    """Each metric of each group, before and after."""
    return [
        {
            "model": when,
            "direction": format_direction(group.direction),
            "language": group.language or "",
            "data set": group.dataset or "",
            "queries": group.queries,
            **{name: _format_percent(one.mean) for name, one in group.metrics.items()},
        }
        for when, report in _reports(result)
        for group in report.groups
    ]
