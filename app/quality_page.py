"""The Quality page: fine-tuning runs, what each of them changed, and new evaluations."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from html import escape

import streamlit as st

from app import (
    quality_change,
    quality_evaluate,
    quality_runs,
    quality_training,
    quality_worst,
    runs,
    votes,
)
from app.resources import collections
from app.runs import Run
from embedder import EmbedderError
from indexer.errors import IndexerError

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
            chosen = quality_runs.chosen(found)
            quality_runs.gallery(chosen.folder)
            st.divider()
            _run(chosen)
        else:
            _empty()
        _thumbs()
        quality_runs.elsewhere()
    except (IndexerError, EmbedderError) as error:
        st.error(str(error), icon=":material/error:")


def _run(run: Run) -> None:
    st.html(f'<h2 class="pl-run">{escape(run.name)}</h2>')
    if run.damaged:
        st.warning(run.damaged, icon=":material/heart_broken:")
        return
    views: Mapping[str, Callable[[Run], None]] = {
        "Before and after": quality_change.show,
        "Worst queries": quality_worst.show,
        "Training": quality_training.show,
        "Model card": quality_training.card,
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
