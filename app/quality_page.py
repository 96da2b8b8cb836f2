"""The Quality page: fine-tuning runs, what each of them changed, and new evaluations."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path

import streamlit as st

from app import quality_change, quality_evaluate, quality_worst, runs, votes
from app.quality_charts import curve
from app.resources import collections
from app.runs import Run
from embedder import EmbedderError
from indexer.errors import IndexerError

REFRESH = 3.0  # seconds between two looks at what is under way
AT_FIRST = 6  # runs that are listed before somebody asks for all
TONES = {"done": "good", "training": "busy", "stopped": "calm", "failed": "bad"}
EMPTY = """
finetune pairs --from-collection --out pairs.jsonl --split
finetune train pairs.train.jsonl --preset starter-head
finetune evaluate pairs.test.jsonl --model RUN
"""


def show() -> None:
    """The whole page; errors are told in a sentence."""
    st.html('<h1 class="pl-title pl-left">Quality</h1>')
    try:
        found = runs.runs()
        if found:
            _page(found)
        else:
            _empty()
        _thumbs()
        _elsewhere()
    except (IndexerError, EmbedderError) as error:
        st.error(str(error), icon=":material/error:")


def _page(found: list[Run]) -> None:
    chosen = _chosen(found)
    _list(chosen.folder)
    st.divider()
    _run(chosen)


def _chosen(found: list[Run]) -> Run:
    """The run that the address names; only one that is listed is ever read."""
    asked = st.query_params.get("run", "")
    whole = (run for run in found if not run.damaged)
    named = (run for run in found if str(run.folder) == asked)
    return next(named, None) or next(whole, None) or found[0]


@st.fragment(run_every=REFRESH)
def _list(chosen: Path) -> None:
    """Refreshed by itself: a run that begins in a terminal shows here."""
    found = runs.runs()
    few = found[:AT_FIRST]
    if len(found) > AT_FIRST and st.toggle(f"All {len(found)} runs", key="all-runs"):
        few = found
    with st.grid("auto", min_column_width=250, gap="medium", key="runs"):
        for run in few:
            here = run.folder == chosen
            with st.container(border=True, key=f"run-{'here-' if here else ''}{run.folder}"):
                st.html(_card(run))
                label = "Shown" if here else "Show"
                if st.button(label, key=f"show-{run.folder}", disabled=here):
                    st.query_params["run"] = str(run.folder)
                    st.rerun()


def _card(run: Run) -> str:
    when = run.created.replace("T", " ")[:16]
    languages = " ".join(run.languages[:8]) + (" …" if len(run.languages) > 8 else "")
    facts = [f"{run.pairs:,} pairs" if run.pairs else "", languages]
    made = " · ".join(filter(None, [run.base, run.preset]))
    return (
        f'<div class="pl-collection"><h3>{escape(run.name)}</h3>{_chip(run)}'
        f"<p>{escape(made)}</p><p>{escape(' · '.join(filter(None, facts)))}</p>"
        f"<p>{escape(when)}{' UTC' if when else ''}</p></div>"
    )


def _chip(run: Run) -> str:
    status = "damaged" if run.damaged else "no news" if run.is_silent else run.status
    return f'<span class="pl-chip {TONES.get(status, "bad")}">{escape(status)}</span>'


def _run(run: Run) -> None:
    st.html(f'<h2 class="pl-run">{escape(run.name)}</h2>')
    if run.damaged:
        st.warning(run.damaged, icon=":material/heart_broken:")
        return
    views: Mapping[str, Callable[[Run], None]] = {
        "Before and after": quality_change.show,
        "Worst queries": quality_worst.show,
        "Training": _training,
        "Model card": _model_card,
        "Evaluate": quality_evaluate.show,
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
    except IndexerError as error:
        st.warning(str(error), icon=":material/error:")
    _use(run)


def _training(run: Run) -> None:
    if run.status == "training" and not run.is_silent:
        st.fragment(_curve, run_every=REFRESH)(run)
    else:
        _curve(run)


def _curve(run: Run) -> None:
    try:
        points = runs.losses(run.folder)
    except IndexerError as error:
        st.warning(str(error), icon=":material/error:")
        return
    if run.is_silent:
        st.warning(
            "It says that it is training, and has written nothing for a while: it may have been "
            "killed. The same finetune train command goes on from its last checkpoint.",
            icon=":material/schedule:",
        )
    if not points:
        st.caption("There is no loss to show yet.")
        return
    step, loss = points[-1]
    st.altair_chart(curve(points), alt=f"Loss by step; {loss:.4f} at step {step:,}.")
    spent = f" · {run.seconds:,.0f} seconds" if run.seconds else ""
    st.caption(f"Step {step:,} · loss {loss:.4f}{spent}")


def _model_card(run: Run) -> None:
    text = runs.card(run.folder)
    if not text:
        st.caption("There is no model card yet: it is written when the training ends.")
        return
    with st.container(border=True, key="model-card"):
        st.markdown(text.replace("![", "["))  # it loads no pictures from elsewhere


def _use(run: Run) -> None:
    if run.status == "done":
        st.markdown("##### Use it")
        st.caption("Re-index a collection with this model; searches go on meanwhile.")
        st.code(f"indexer reindex --model {shlex.quote(str(run.folder))}", language="sh")


def _thumbs() -> None:
    """What the collections' hits were given, and what to make of it."""
    counted = {summary.name: votes.counts(summary.name) for summary in collections()}
    st.markdown("#### Thumbs")
    given = {name: count for name, count in counted.items() if any(count)}
    if not given:
        st.caption(
            "Each hit of a search has a thumb up and a thumb down. Votes are kept on this machine, "
            "with the collection, and a model can be trained on them."
        )
        return
    for name, (up, down) in given.items():
        st.html(
            f'<p class="pl-thumbs-told"><b>{escape(name)}</b> {up:,} up · {down:,} down, '
            "kept on this machine</p>"
        )
        place = "" if name == "default" else f" --collection {name}"
        st.code(f"finetune pairs --from-feedback{place} --out liked.jsonl", language="sh")


def _empty() -> None:
    st.html(
        '<p class="pl-lead pl-left">Here you see whether a model of your own is better. '
        "There is no run yet; three lines make one:</p>"
    )
    st.code(EMPTY.strip(), language="sh")


def _elsewhere() -> None:
    """Runs that were trained with --out somewhere else."""
    with st.expander("Runs in other folders"):
        for folder in runs.elsewhere():
            line, button = st.columns([5, 1], vertical_alignment="center")
            line.code(str(folder), language=None)
            if button.button("Forget", key=f"forget-{folder}", help="The folder itself stays."):
                runs.forget(folder)
                st.rerun()
        with st.form("elsewhere", border=False, clear_on_submit=True):
            typed = st.text_input("Folder of a run", placeholder="~/runs/shop")
            asked = st.form_submit_button("Add")
    if asked and typed.strip():
        folder = Path(typed.strip()).expanduser()
        runs.add(folder)
        st.query_params["run"] = str(folder.absolute())
        st.rerun()
