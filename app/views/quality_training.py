"""A run's training: its loss curve and its model card."""

from __future__ import annotations

import streamlit as st

from app import runs
from app.components.charts import draw_curve
from app.runs import Run
from indexer.errors import IndexerError

REFRESH_SECONDS = 3.0  # seconds between two looks at a run under way


def show(run: Run) -> None:
    """The loss curve, and how it goes on while the run is under way."""
    live = run.status == "training" and not run.is_silent
    st.fragment(_show_curve, run_every=REFRESH_SECONDS if live else None)(run)


def _show_curve(shown: Run) -> None:
    run = runs.read(shown.folder)
    if run.status != shown.status and not run.damaged:
        st.rerun()  # it has ended meanwhile
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
    st.altair_chart(draw_curve(points), alt=f"Loss by step; {loss:.4f} at step {step:,}.")
    spent = f" · {run.seconds:,.0f} seconds" if run.seconds else ""
    st.caption(f"Step {step:,} · loss {loss:.4f}{spent}")


def show_card(run: Run) -> None:
    """The run's model card."""
    text = runs.card(run.folder)
    if not text:
        st.caption("There is no model card yet: it is written when the training ends.")
        return
    with st.container(border=True, key="model-card"):
        st.markdown(text.replace("![", "["))  # it loads no pictures from elsewhere
