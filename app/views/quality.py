"""The Quality page: fine-tuning runs, what each of them changed, and new evaluations."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from html import escape

import streamlit as st

from app import runs, votes
from app.runs import Run
from app.services import summarize_collections
from app.views import (
    quality_comparison,
    quality_evaluation,
    quality_runs,
    quality_training,
    quality_worst_queries,
)
from embedder import EmbedderError
from indexer.errors import IndexerError

FIRST_STEPS = """
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
            chosen = quality_runs.select_run(found)
            quality_runs.show_gallery(chosen.folder)
            st.divider()
            _show_run(chosen)
        else:
            _show_welcome()
        _show_votes()
        quality_runs.show_added_runs()
    except (IndexerError, EmbedderError) as error:
        st.error(str(error), icon=":material/error:")


def _show_run(run: Run) -> None:
    st.html(f'<h2 class="pl-run">{escape(run.name)}</h2>')
    if run.damaged:
        st.warning(run.damaged, icon=":material/heart_broken:")
        return
    views: Mapping[str, Callable[[Run], None]] = {
        "Before and after": quality_comparison.show,
        "Worst queries": quality_worst_queries.show,
        "Training": quality_training.show,
        "Model card": quality_training.show_card,
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
    except IndexerError as error:
        st.warning(str(error), icon=":material/error:")
    _show_reindex_command(run)


def _show_reindex_command(run: Run) -> None:
    if run.status == "done":
        st.markdown("##### Use it")
        st.caption("Re-index a collection with this model; searches go on meanwhile.")
        st.code(f"indexer reindex --model {shlex.quote(str(run.folder))}", language="sh")


def _show_votes() -> None:
    """What the collections' hits were given, and what to make of it."""
    counted = {summary.name: votes.count_votes(summary.name) for summary in summarize_collections()}
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


def _show_welcome() -> None:
    st.html(
        '<p class="pl-lead pl-left">Here you see whether a model of your own is better. '
        "There is no run yet; three lines make one:</p>"
    )
    st.code(FIRST_STEPS.strip(), language="sh")
