"""The Library page: the collections, and a form that adds a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from html import escape

import streamlit as st

from app import jobs
from app.jobs import IngestJob
from app.permissions import (
    ROOTS_HINT,
    check_model,
    describe_roots,
    get_permissions,
    resolve_allowed_path,
)
from app.services import (
    SUMMARY_SECONDS,
    get_settings,
    load_collection_model,
    summarize_collections,
)
from app.views.messages import show_error, show_table
from embedder import EmbedderError, list_models
from embedder.cli.console import pluralize
from embedder.escaping import escape_markdown
from embedder.hardware import choose_placement, detect_memory
from indexer.collections.collection import OpenCollection, Summary
from indexer.collections.model import find_changed_model, format_reindex_command
from indexer.config import parse_name
from indexer.errors import IndexerError
from indexer.ingest.prune import prune

REFRESH_SECONDS = 1.0


def show() -> None:
    """Show the whole page."""
    st.html('<h1 class="pl-title pl-left">Library</h1>')
    _show_collections()
    _show_add_form()


@st.fragment(run_every=SUMMARY_SECONDS)
def _show_collections() -> None:
    """Refreshes itself, so that an ingest in a terminal appears."""
    try:
        summaries = summarize_collections()
    except IndexerError as error:
        show_error(error)
        return
    if not summaries:
        st.html('<p class="pl-lead pl-left">There is no collection yet. Add a folder below.</p>')
        return
    with st.grid("auto", min_column_width=280, gap="medium", key="collections"):
        for summary in summaries:
            with st.container(border=True, key=f"collection-{summary.name}"):
                _show_collection(summary)


def _show_collection(summary: Summary) -> None:
    points = "…" if summary.points is None else f"{summary.points:,}"
    when = (summary.ingested or summary.created).replace("T", " ")[:16]
    size = f"{summary.bytes_on_disk / 1e6:,.1f} MB"
    st.html(
        f'<div class="pl-collection"><h3>{escape(summary.name)}</h3>'
        f"<p><b>{points}</b> items</p>"
        f"<p>{size} · {escape(summary.card.name)} · {when} UTC</p></div>"
    )
    changed = find_changed_model(summary.card)
    if changed:
        st.warning("It was made with another version of its model. To search it, type:")
        config = replace(get_settings(), collection=summary.name)
        st.code(format_reindex_command(config, changed.name), language="sh", wrap_lines=True)
    with st.container(horizontal=True):
        if st.button("Search", key=f"search-{summary.name}", icon=":material/search:"):
            st.switch_page(st.session_state["pages"]["search"], query_params={"c": summary.name})
        if st.button(
            "Prune",
            key=f"prune-{summary.name}",
            icon=":material/cleaning_services:",
            help="Remove pictures whose files were deleted.",
        ):
            _prune(summary.name)


def _prune(name: str) -> None:
    try:
        with OpenCollection.open(replace(get_settings(), collection=name, model=None)) as here:
            report = prune(here, lambda: load_collection_model(name, here.card))
    except (IndexerError, EmbedderError) as error:
        show_error(error)
        return
    st.toast(f"{report.removed:,} removed, {pluralize(len(report.paths), 'file')} gone")
    for root in report.missing_roots:
        st.warning(f"{escape_markdown(root)} is missing or empty; nothing under it was touched.")


def _show_add_form() -> None:
    st.markdown("#### Add a folder")
    roots = get_permissions().roots
    if not roots:
        st.caption(f"No folder of this machine may be added here. To change that, {ROOTS_HINT}.")
        return
    with st.form("add", border=False):
        folder, name = st.columns([3, 1])
        where = folder.text_input(
            "Folder on this machine", placeholder="~/Pictures", help=f"In {describe_roots(roots)}."
        )
        collection = name.text_input("Collection", value=get_settings().collection)
        needs = {card.name: card.memory for card in list_models()}
        chosen = st.selectbox(
            "Model",
            list(needs),
            index=None,
            placeholder="The collection's own; the starter for a new one",
            accept_new_options=True,
            format_func=partial(_format_model, needs),
            help="For a new collection. A Hugging Face id or a folder may be typed as well. "
            "docs/models.md says which to choose.",
        )
        prune_missing = st.checkbox("Also remove pictures whose files were deleted")
        submitted = st.form_submit_button("Add pictures", type="primary")
    if submitted:
        _start_ingest(where, collection, chosen, prune_missing)
    _show_progress(collection)


def _format_model(needs: Mapping[str, int], name: str) -> str:
    """A model's name, and where it would run on this machine, if its memory is known."""
    if name not in needs:
        return name
    where = {"GPU": "runs on the GPU", "CPU": "runs on the CPU", "no": "too large for this machine"}
    return f"{name} ({where[choose_placement(needs[name], detect_memory())]})"


def _start_ingest(where: str, collection: str, model: str | None, prune_missing: bool) -> None:
    if not where.strip():
        show_error("Type the folder to add.")
        return
    try:
        folder = resolve_allowed_path(where)
        configured = get_settings().model
        chosen = check_model(model, [configured] if configured else []) if model else None
        jobs.start_ingest(str(parse_name(collection)), folder, model=chosen, prune=prune_missing)
    except IndexerError as error:
        show_error(error)
    except ValueError as error:
        show_error(f"A collection cannot be named {collection!r}: {error}")


@st.fragment(run_every=REFRESH_SECONDS)
def _show_progress(collection: str) -> None:
    job = jobs.latest_ingest(collection)
    if job is None:
        return
    with st.container(border=True, key="job"):
        if job.is_running:
            _show_running(job)
        elif job.error:
            show_error(job.error)
        else:
            _show_report(job)


def _show_running(job: IngestJob) -> None:
    st.html(f"<b>{escape(str(job.folder))}</b>")
    now = job.progress
    if now is None or now.total is None:
        st.progress(0.0, "Scanning the folder…" if now else "Loading the model…")
    else:
        rate = now.done / now.seconds if now.seconds else 0.0
        left = f", {(now.total - now.done) / rate:,.0f} s left" if rate else ""
        st.progress(
            min(1.0, now.done / max(now.total, 1)),
            f"{now.done:,} of {now.total:,} · {rate:,.0f} a second{left}",
        )
    if st.button("Stop", icon=":material/stop_circle:", disabled=job.stop.is_set()):
        job.stop.set()


def _show_report(job: IngestJob) -> None:
    report = job.report
    if report is None:
        st.error("The ingest failed; see the log in the terminal.")
        return
    words = "Stopped; everything done so far is saved" if report.interrupted else "Done"
    counts = {
        "added": report.added, "updated": report.updated, "unchanged": report.unchanged,
        "moved": report.moved,
        "duplicate" if report.duplicates == 1 else "duplicates": report.duplicates,
        "unsupported": report.unsupported, "failed": report.failed, "removed": report.removed,
    }  # fmt: skip
    summary = " · ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    st.success(f"{words}: {summary or 'nothing to do'}", icon=":material/check_circle:")
    if report.recovered:
        count = pluralize(report.recovered, "file")
        st.info(f"The store had lost {count}, as after a power cut; written again.")
    if report.lost:
        count = pluralize(len(report.lost), "file")
        st.warning(f"The store has lost {count} that could not be read again. Add their folder.")
        show_table([{"file": path} for path in report.lost])
    if report.passed_over:
        passed = ", ".join(pluralize(count, kind) for kind, count in report.passed_over.items())
        st.caption(f"Passed over, neither pictures nor texts: {passed}")
    if report.notes:
        st.markdown("**Notes**")
        show_table([{"file": note.path, "note": note.text} for note in report.notes])
    if report.skipped:
        st.markdown(f"**Skipped: {pluralize(len(report.skipped), 'file')}**")
        rows = [{"file": s.path, "reason": s.reason, "detail": s.detail} for s in report.skipped]
        show_table(rows)
