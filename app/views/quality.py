"""The Quality page: fine-tuning runs, their results and training, and new evaluations."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app import runs, votes
from app.permissions import ROOTS_HINT, get_permissions, resolve_allowed_path
from app.services import summarize_collections
from app.views import quality_comparison, quality_evaluation, quality_worst_queries
from app.views.messages import show_error
from embedder.cli.console import pluralize
from embedder.escaping import escape_markdown
from finetune.errors import FinetuneError
from finetune.run_dir import RunDir, RunInfo
from indexer.errors import IndexerError

if TYPE_CHECKING:
    from altair import LayerChart

REFRESH_SECONDS = 3.0
MAX_COLLAPSED = 6  # runs that are listed until all are wanted
MAX_POINTS = 500  # of a loss curve
MAX_CARD_LENGTH = 200_000  # characters
SMOOTHING = 40  # the moving mean spans 1/40 of the curve to either side
COLOR = "#0d9488"  # of the curve; legible on light and on dark
IMAGE_PATTERN = re.compile(r"!+\[")
TONES = {"done": "good", "training": "busy", "stopped": "calm", "failed": "bad"}
FIRST_STEPS = """
finetune pairs --from-collection --out pairs.jsonl --split 0.2
finetune train pairs.train.jsonl --preset starter-head
finetune evaluate pairs.test.jsonl --model RUN
"""


def show() -> None:
    """Show the whole page."""
    st.html('<h1 class="pl-title pl-left">Quality</h1>')
    listed = runs.list_all()
    if listed:
        selected = _select_run(listed)
        _show_runs(selected.folder)
        st.divider()
        _show_run(selected)
    else:
        st.html(
            '<p class="pl-lead pl-left">This page shows whether a model of your own is better. '
            "There is no run yet. Three commands make one:</p>"
        )
        st.code(FIRST_STEPS.strip(), language="sh")
        quality_evaluation.show_missing_packages()
    _show_votes()
    _show_added_runs()


def _select_run(listed: list[RunInfo]) -> RunInfo:
    """The run that the address names; only a listed one is ever read."""
    param = st.query_params.get("run", "")
    named = (run for run in listed if str(run.folder) == param)
    readable = (run for run in listed if not run.error)
    return next(named, None) or next(readable, None) or listed[0]


@st.fragment(run_every=REFRESH_SECONDS)
def _show_runs(selected: Path) -> None:
    """Refreshes itself, so that a run that starts in a terminal appears."""
    listed = runs.list_all()
    shown = listed[:MAX_COLLAPSED]
    if len(listed) > MAX_COLLAPSED and st.toggle(f"All {len(listed)} runs", key="all-runs"):
        shown = listed
    with st.grid("auto", min_column_width=250, gap="medium", key="runs"):
        for run in shown:
            here = run.folder == selected
            with st.container(border=True, key=f"run-{'here-' if here else ''}{run.folder}"):
                st.html(_render_card(run))
                label = "Shown" if here else "Show"
                if st.button(label, key=f"show-{run.folder}", disabled=here):
                    st.query_params["run"] = str(run.folder)
                    st.rerun()


def _render_card(run: RunInfo) -> str:
    status = "damaged" if run.error else "stalled" if runs.is_stalled(run) else run.status
    created = run.created.replace("T", " ")[:16]
    languages = " ".join(run.languages[:8]) + (" …" if len(run.languages) > 8 else "")
    lines = (
        " · ".join(filter(None, [run.base, run.preset])),
        " · ".join(filter(None, [pluralize(run.pairs, "pair") if run.pairs else "", languages])),
        f"{created} UTC" if created else "",
    )
    return (
        f'<div class="pl-collection"><h3>{escape(run.name)}</h3>'
        f'<span class="pl-chip {TONES.get(status, "bad")}">{escape(status)}</span>'
        + "".join(f"<p>{escape(line)}</p>" for line in lines)
        + "</div>"
    )


def _show_run(run: RunInfo) -> None:
    st.html(f'<h2 class="pl-run">{escape(run.name)}</h2>')
    if run.error:
        st.warning(escape_markdown(run.error), icon=":material/heart_broken:")
        return
    views: Mapping[str, Callable[[RunInfo], None]] = {
        "Before and after": quality_comparison.show,
        "Worst queries": quality_worst_queries.show,
        "Training": _show_training,
        "Model card": _show_card,
        "Evaluate": quality_evaluation.show,
    }
    first = "Training" if run.status == "training" else "Before and after"
    view = st.segmented_control(
        "What to see",
        list(views),
        default=first,
        required=True,
        key=f"view-{run.folder}",
        label_visibility="collapsed",
    )
    try:
        views[view or first](run)
    except (IndexerError, FinetuneError) as error:
        show_error(error)
    if run.status == "done":
        st.markdown("##### Use it")
        st.caption("Reindex a collection with this model. You can search meanwhile.")
        st.code(f"indexer reindex --model {shlex.quote(str(run.folder))}", language="sh")


def _show_training(run: RunInfo) -> None:
    """Show the loss curve, and refresh it while the run is training."""
    live = run.status == "training" and not runs.is_stalled(run)
    st.fragment(_show_loss, run_every=REFRESH_SECONDS if live else None)(run)


def _show_loss(shown: RunInfo) -> None:
    run = RunDir(shown.folder).describe()
    if run.status != shown.status and not run.error:
        st.rerun()  # it ended
    points = RunDir(run.folder).read_losses(MAX_POINTS)
    if runs.is_stalled(run):
        st.warning(
            "This run says that it is training, but nothing was written for a while. It may have "
            "been killed. The same finetune train command resumes it from its last checkpoint.",
            icon=":material/schedule:",
        )
    if not points:
        st.caption("There is no loss to show yet.")
        return
    step, loss = points[-1]
    st.altair_chart(_draw_loss(points), alt=f"Loss by step; {loss:.4f} at step {step:,}.")
    seconds = f" · {run.seconds:,.0f} seconds" if run.seconds else ""
    st.caption(f"Step {step:,} · loss {loss:.4f}{seconds}")


def _draw_loss(points: Sequence[tuple[int, float]]) -> LayerChart:
    """The loss by step, faintly, and its moving mean."""
    import altair as alt

    window = len(points) // SMOOTHING
    rows = [{"step": step, "loss": loss} for step, loss in points]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("step:Q", axis=alt.Axis(format=",d", grid=False, tickMinStep=1)),
        tooltip=[alt.Tooltip("step:Q", format=","), alt.Tooltip("loss:Q", format=".4f")],
    )
    raw = base.mark_line(opacity=0.35, strokeWidth=1, color=COLOR).encode(
        y=alt.Y("loss:Q", scale=alt.Scale(zero=False))
    )
    smooth = (
        base.transform_window(mean="mean(loss)", frame=[-window, window])
        .mark_line(strokeWidth=2.5, color=COLOR)
        .encode(y=alt.Y("mean:Q", title="loss"))
    )
    chart: LayerChart = (raw + smooth).properties(height=280)
    return chart


def _show_card(run: RunInfo) -> None:
    try:
        with (run.folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_CARD_LENGTH)
    except OSError:
        st.caption("There is no model card yet: it is written when the training ends.")
        return
    with st.container(border=True, key="model-card"):
        st.markdown(IMAGE_PATTERN.sub("[", text))  # loads no images from other servers


def _show_votes() -> None:
    """Show how many votes each collection has, and the command that uses them."""
    counts = {summary.name: votes.count_votes(summary.name) for summary in summarize_collections()}
    st.markdown("#### Thumbs")
    if not any(map(any, counts.values())):
        st.caption(
            "Each hit of a search has a thumb up and a thumb down. Votes are stored on this "
            "machine, with the collection, and a model can be trained on them."
        )
    for name, (up, down) in counts.items():
        if up or down:
            st.html(
                f'<p class="pl-vote-counts"><b>{escape(name)}</b> {up:,} up · {down:,} down, '
                "stored on this machine</p>"
            )
            option = "" if name == "default" else f" --collection {name}"
            st.code(f"finetune pairs --from-feedback{option} --out liked.jsonl", language="sh")


def _show_added_runs() -> None:
    """Show the runs that were trained with --out in another folder; raises `IndexerError`."""
    with st.expander("Runs in other folders"):
        for folder in runs.list_added():
            line, button = st.columns([5, 1], vertical_alignment="center")
            line.code(str(folder), language=None)
            if button.button("Forget", key=f"forget-{folder}", help="The folder itself stays."):
                runs.forget(folder)
                st.rerun()
        if not get_permissions().roots:
            st.caption(f"No other folder may be added here. To change that, {ROOTS_HINT}.")
            return
        with st.form("elsewhere", border=False, clear_on_submit=True):
            typed = st.text_input("Folder of a run", placeholder="~/runs/shop")
            submitted = st.form_submit_button("Add")
    if submitted and typed.strip():
        folder = resolve_allowed_path(typed)
        runs.add(folder)
        st.query_params["run"] = str(folder)
        st.rerun()
