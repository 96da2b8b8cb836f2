"""The form that starts an evaluation, and its progress."""

from __future__ import annotations

import streamlit as st

from app import jobs, runs
from app.jobs import EvaluationJob, EvaluationRequest
from app.permissions import check_model, resolve_allowed_path
from app.services import get_settings
from app.views.messages import show_error
from embedder import DEFAULT_MODEL, list_models
from embedder.escaping import escape_markdown
from embedder.extras import find_missing_module, format_install_command
from finetune.run_dir import RunInfo
from indexer.errors import IndexerError

REFRESH_SECONDS = 1.0
HELD_OUT_FILE = "evaluation/held-out.jsonl"  # pairs that the training did not see
NO_BASELINE = "nothing: evaluate it alone"


def show(run: RunInfo) -> None:
    """Show the form, and the evaluation that is running; raises `IndexerError`."""
    if show_missing_packages():
        return
    _show_form(run)
    st.fragment(_show_progress, run_every=REFRESH_SECONDS if _is_running() else None)()


def show_missing_packages() -> bool:
    """Say what training and evaluations need, if it is missing; return whether it is."""
    if find_missing_module("finetune") is None:
        return False
    st.info("Training and evaluations need more packages. This command installs them:")
    st.code(format_install_command("finetune"), language="sh")
    return True


def _show_form(run: RunInfo) -> None:
    held_out = run.folder / HELD_OUT_FILE
    with st.form(f"evaluate-{run.folder}", border=False):
        pairs = st.text_input(
            "File of pairs",
            value=str(held_out) if held_out.is_file() else "",
            placeholder="~/pairs.test.jsonl",
            help="Pairs that no training has seen: JSONL, CSV or Parquet. Made by "
            "finetune pairs --split 0.2.",
        )
        others = [str(other.folder) for other in runs.list_all() if other.status == "done"]
        models = list(
            dict.fromkeys([str(run.folder), *others, *(card.name for card in list_models())])
        )
        baselines = dict.fromkeys([run.base or DEFAULT_MODEL, *models[1:], NO_BASELINE])
        first, second = st.columns(2)
        after = first.selectbox(
            "Model", models, accept_new_options=True, help="A run, or a model's name."
        )
        before = second.selectbox(
            "Beside it",
            list(baselines),
            accept_new_options=True,
            help="The model that it is compared with.",
        )
        limit = st.number_input(
            "Queries", min_value=1, value=None, placeholder="All", help="How many, at random."
        )
        reverse = st.checkbox("Evaluate each pair in the other direction too")
        submitted = st.form_submit_button("Evaluate", type="primary", disabled=_is_running())
    if submitted:
        if not pairs.strip():
            raise IndexerError("type the name of a file of pairs")
        known = [listed.folder for listed in runs.list_all()]
        settings = get_settings()
        models = [*map(str, known), *filter(None, [run.base, settings.model])]
        request = EvaluationRequest(
            after=check_model(after, models),
            before=None if before == NO_BASELINE else check_model(before, models),
            pairs=resolve_allowed_path(pairs, [settings.runs, *known]),
            reverse=reverse,
            limit=limit,
        )
        jobs.start_evaluation(run, request)
        st.rerun()


def _is_running() -> bool:
    job = jobs.latest_evaluation()
    return job is not None and job.is_running


def _show_progress() -> None:
    job = jobs.latest_evaluation()
    if job is None:
        return
    if job.is_running:
        st.progress(job.fraction_done, escape_markdown(job.last_line) or "Loading the model…")
        names = escape_markdown(f"{job.run.name} on {job.request.pairs.name}")
        st.caption(f"{names} · {job.seconds:,.0f} seconds")
        if st.button("Stop", icon=":material/stop_circle:", disabled=job.stopped):
            job.stop()
            st.rerun(scope="fragment")
        return
    if st.session_state.get("evaluation-seen") != str(job.out):
        st.session_state["evaluation-seen"] = str(job.out)
        st.rerun()  # enables the form
    if job.stopped:
        st.info("Stopped; nothing was written.", icon=":material/stop_circle:")
    elif job.error:
        show_error(job.error)
    else:
        st.success(
            f"Done in {job.seconds:,.0f} seconds: {escape_markdown(str(job.out))}",
            icon=":material/check_circle:",
        )
        if st.button("Show the result", on_click=_open_result, args=(job,)):
            st.rerun()


def _open_result(job: EvaluationJob) -> None:
    st.session_state[f"result-{job.run.folder}"] = str(job.out)
    st.session_state[f"view-{job.run.folder}"] = "Before and after"
    st.query_params["run"] = str(job.run.folder)
