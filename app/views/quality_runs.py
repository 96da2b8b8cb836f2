"""The Quality page's list of runs: which there are, which is shown, and those in other folders."""

from __future__ import annotations

from html import escape
from pathlib import Path

import streamlit as st

from app import runs
from app.runs import Run

REFRESH_SECONDS = 3.0  # seconds between two looks at the runs
MAX_COLLAPSED = 6  # runs that are listed before somebody asks for all
TONES = {"done": "good", "training": "busy", "stopped": "calm", "failed": "bad"}


def select_run(found: list[Run]) -> Run:
    """The run that the address names; only one that is listed is ever read."""
    asked = st.query_params.get("run", "")
    whole = (run for run in found if not run.damaged)
    named = (run for run in found if str(run.folder) == asked)
    return next(named, None) or next(whole, None) or found[0]


@st.fragment(run_every=REFRESH_SECONDS)
def show_gallery(shown: Path) -> None:
    """Refreshed by itself: a run that begins in a terminal shows here."""
    found = runs.runs()
    few = found[:MAX_COLLAPSED]
    if len(found) > MAX_COLLAPSED and st.toggle(f"All {len(found)} runs", key="all-runs"):
        few = found
    with st.grid("auto", min_column_width=250, gap="medium", key="runs"):
        for run in few:
            here = run.folder == shown
            with st.container(border=True, key=f"run-{'here-' if here else ''}{run.folder}"):
                st.html(_render_card(run))
                label = "Shown" if here else "Show"
                if st.button(label, key=f"show-{run.folder}", disabled=here):
                    st.query_params["run"] = str(run.folder)
                    st.rerun()


def _render_card(run: Run) -> str:
    when = run.created.replace("T", " ")[:16]
    languages = " ".join(run.languages[:8]) + (" …" if len(run.languages) > 8 else "")
    facts = [f"{run.pairs:,} pairs" if run.pairs else "", languages]
    made = " · ".join(filter(None, [run.base, run.preset]))
    return (
        f'<div class="pl-collection"><h3>{escape(run.name)}</h3>{_render_status(run)}'
        f"<p>{escape(made)}</p><p>{escape(' · '.join(filter(None, facts)))}</p>"
        f"<p>{escape(when)}{' UTC' if when else ''}</p></div>"
    )


def _render_status(run: Run) -> str:
    status = "damaged" if run.damaged else "no news" if run.is_silent else run.status
    return f'<span class="pl-chip {TONES.get(status, "bad")}">{escape(status)}</span>'


def show_added_runs() -> None:
    """Runs that were trained with --out somewhere else; raises `IndexerError`."""
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
