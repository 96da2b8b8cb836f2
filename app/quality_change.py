"""Before and after: what a run has changed, over all and by language and direction."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import streamlit as st

from app import results
from app.quality_charts import Bar, bars
from app.quality_words import direction, figure, metric, verdict
from app.results import Change, Estimate, Report, Result
from app.runs import DamagedError, Run

TONES = {1: "good", 0: "calm", -1: "bad"}


def show(run: Run) -> None:
    """The section; raises `DamagedError`."""
    result = choose(run)
    if result is None:
        return
    name = _metric(result)
    _headline(result, name)
    for code in dict.fromkeys(group.direction for group in result.after.groups):
        rows = _bars(result, code, name)
        if rows:
            st.markdown(f"##### {direction(code)}")
            st.altair_chart(
                bars(rows, name, _is_dark()), alt=f"{name} of each language, {direction(code)}"
            )
    with st.expander("All figures"):
        st.dataframe(_table(result), hide_index=True)


def choose(run: Run) -> Result | None:
    """The evaluation of the run that somebody chose, if there is one; raises `DamagedError`."""
    folders = results.folders(run.folder)
    if not folders:
        st.html(
            '<div class="pl-note">This run has not been evaluated yet. <b>Evaluate</b>, above, '
            "measures it on a file of pairs.</div>"
        )
        return None
    return results.result(_one_of(folders, f"result-{run.folder}"))


def _one_of(folders: Sequence[Path], key: str) -> Path:
    """The newest evaluation, or that which somebody chose."""
    names = {str(folder): folder.name for folder in folders}
    if len(names) == 1:
        return folders[0]
    if st.session_state.get(key) not in names:
        st.session_state[key] = str(folders[0])
    chosen = st.selectbox("Evaluation", list(names), format_func=names.__getitem__, key=key)
    return Path(chosen)


def _metric(result: Result) -> str:
    report = result.after
    names = [name for name in report.metrics if result.overall is None or name in result.overall]
    if not names:
        raise DamagedError(f"{result.folder} holds no figures; evaluate again")
    first = names.index(report.main) if report.main in names else 0
    key = f"metric-{result.folder}"
    return st.pills("Metric", names, default=names[first], key=key, required=True) or names[first]


def _headline(result: Result, name: str) -> None:
    report = result.after
    change = result.overall[name] if result.overall else None
    cells = _changed(change) if change else _alone(report.metrics[name])
    told = verdict(name, change) if change else ""
    tone = TONES[change.sign] if change else "calm"
    models = [_short(one.model) for one in (result.before, report) if one]
    versus = f"{models[0]} before, {models[1]} after" if result.before else models[0]
    about = f"{report.asked:,} queries among {report.documents:,} documents of {report.benchmark}"
    st.html(
        f'<div class="pl-verdict {tone}"><div class="pl-figures">{cells}</div>'
        f"<p><b>{escape(told)}</b></p><p>{escape(_sentence(name, metric(name)))}</p>"
        f'<p class="quiet">{escape(" · ".join(filter(None, [about, versus])))}</p></div>'
    )


def _short(model: str) -> str:
    """A folder by its last name."""
    return Path(model).name if model.startswith("/") else model


def _changed(change: Change) -> str:
    cells = {
        "before": figure(change.before),
        "after": figure(change.after),
        "change": f"{100 * change.difference:+.1f}",
    }
    return "".join(f"<div><b>{value}</b><span>{key}</span></div>" for key, value in cells.items())


def _alone(one: Estimate) -> str:
    span = f"{figure(one.low)} to {figure(one.high)}"
    return f"<div><b>{figure(one.mean)}</b><span>95 % interval {span}</span></div>"


def _sentence(name: str, meaning: str) -> str:
    return f"{name} is {meaning}; 100 is perfect." if meaning else ""


def _bars(result: Result, code: str, name: str) -> list[Bar]:
    reports = [("before", result.before), ("after", result.after)]
    return [
        Bar(row, when, 100 * one.mean, 100 * one.low, 100 * one.high, queries)
        for when, report in reports
        if report
        for row, queries, one in _rows(report, code, name)
    ]


def _is_dark() -> bool:
    return st.context.theme.type == "dark"


def _rows(report: Report, code: str, name: str) -> Sequence[tuple[str, int, Estimate]]:
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


def _table(result: Result) -> list[dict[str, object]]:
    """Each metric of each group, before and after."""
    return [
        {
            "model": when,
            "direction": direction(group.direction),
            "language": group.language,
            "data set": group.dataset,
            "queries": group.queries,
            **{name: figure(one.mean) for name, one in group.metrics.items()},
        }
        for when, report in (("before", result.before), ("after", result.after))
        if report
        for group in report.groups
    ]
