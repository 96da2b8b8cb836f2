"""Before and after: what a run has changed, over all and by language and direction."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import streamlit as st

from app import results
from app.components.charts import Bar, draw_bars
from app.metric_text import describe_change, describe_metric, format_direction, format_percent
from app.results import Change, Estimate, Report, Result
from app.runs import DamagedError, Run

TONES = {1: "good", 0: "calm", -1: "bad"}


def show(run: Run) -> None:
    """The section; raises `DamagedError`."""
    result = select_result(run)
    if result is None:
        return
    name = _select_metric(result)
    _show_headline(result, name)
    for code in dict.fromkeys(group.direction for group in result.after.groups):
        rows = _make_bars(result, code, name)
        if rows:
            st.markdown(f"##### {format_direction(code)}")
            st.altair_chart(
                draw_bars(rows, name, _is_dark()),
                alt=f"{name} of each language, {format_direction(code)}",
            )
    with st.expander("All figures"):
        st.dataframe(_make_table(result), hide_index=True)


def select_result(run: Run) -> Result | None:
    """The evaluation of the run that somebody chose, if there is one; raises `DamagedError`."""
    folders = results.folders(run.folder)
    if not folders:
        st.html(
            '<div class="pl-note">This run has not been evaluated yet. <b>Evaluate</b>, above, '
            "measures it on a file of pairs.</div>"
        )
        return None
    return results.result(_select_folder(folders, f"result-{run.folder}"))


def _select_folder(folders: Sequence[Path], key: str) -> Path:
    """The newest evaluation, or that which somebody chose."""
    names = {str(folder): folder.name for folder in folders}
    if len(names) == 1:
        return folders[0]
    if st.session_state.get(key) not in names:
        st.session_state[key] = str(folders[0])
    chosen = st.selectbox("Evaluation", list(names), format_func=names.__getitem__, key=key)
    return Path(chosen)


def _select_metric(result: Result) -> str:
    report = result.after
    names = [name for name in report.metrics if result.overall is None or name in result.overall]
    if not names:
        raise DamagedError(f"{result.folder} holds no figures; evaluate again")
    first = names.index(report.main) if report.main in names else 0
    key = f"metric-{result.folder}"
    return st.pills("Metric", names, default=names[first], key=key, required=True) or names[first]


def _show_headline(result: Result, name: str) -> None:
    report = result.after
    change = result.overall[name] if result.overall else None
    cells = _render_change(change) if change else _render_estimate(report.metrics[name])
    told = describe_change(name, change) if change else ""
    tone = TONES[change.sign] if change else "calm"
    models = [_short_name(one.model) for one in (result.before, report) if one]
    versus = f"{models[0]} before, {models[1]} after" if result.before else models[0]
    about = f"{report.asked:,} queries among {report.documents:,} documents of {report.benchmark}"
    st.html(
        f'<div class="pl-verdict {tone}"><div class="pl-figures">{cells}</div>'
        f"<p><b>{escape(told)}</b></p><p>{escape(_describe_metric(name, describe_metric(name)))}</p>"
        f'<p class="quiet">{escape(" · ".join(filter(None, [about, versus])))}</p></div>'
    )


def _short_name(model: str) -> str:
    """A folder by its last name."""
    return Path(model).name if model.startswith("/") else model


def _render_change(change: Change) -> str:
    cells = {
        "before": format_percent(change.before),
        "after": format_percent(change.after),
        "change": f"{100 * change.difference:+.1f}",
    }
    return "".join(f"<div><b>{value}</b><span>{key}</span></div>" for key, value in cells.items())


def _render_estimate(one: Estimate) -> str:
    span = f"{format_percent(one.low)} to {format_percent(one.high)}"
    return f"<div><b>{format_percent(one.mean)}</b><span>95 % interval {span}</span></div>"


def _describe_metric(name: str, meaning: str) -> str:
    return f"{name} is {meaning}; 100 is perfect." if meaning else ""


def _make_bars(result: Result, code: str, name: str) -> list[Bar]:
    reports = [("before", result.before), ("after", result.after)]
    return [
        Bar(row, when, 100 * one.mean, 100 * one.low, 100 * one.high, queries)
        for when, report in reports
        if report
        for row, queries, one in _group_rows(report, code, name)
    ]


def _is_dark() -> bool:
    return st.context.theme.type == "dark"


def _group_rows(report: Report, code: str, name: str) -> Sequence[tuple[str, int, Estimate]]:
    """(row, queries, estimate) of one direction, the largest group first."""
    groups = [group for group in report.groups if group.direction == code and name in group.metrics]
    several = len({group.dataset for group in groups}) > 1
    groups.sort(key=lambda group: -group.queries)
    return [
        (
            " · ".join(filter(None, [group.dataset if several else "", group.language])) or "all",
            group.queries,
            group.metrics[name],
        )
        for group in groups
    ]


def _make_table(result: Result) -> list[dict[str, object]]:
    """Each metric of each group, before and after."""
    return [
        {
            "model": when,
            "direction": format_direction(group.direction),
            "language": group.language,
            "data set": group.dataset,
            "queries": group.queries,
            **{name: format_percent(one.mean) for name, one in group.metrics.items()},
        }
        for when, report in (("before", result.before), ("after", result.after))
        if report
        for group in report.groups
    ]
