"""An evaluation from the app is the real command, one at a time, and it can be stopped."""

from __future__ import annotations

import json
import sys

import pytest

from app import jobs, runs
from app.jobs import EvaluationRequest, build_command
from finetune.run_dir import RunDir
from indexer.errors import IndexerError


@pytest.fixture
def run(empty_store, run_folder):
    yield runs.list_all()[0]
    job = jobs.latest_evaluation()
    if job:
        job.stop()
        job.wait(20)


@pytest.fixture
def pairs(tmp_path, photo):
    """Two captions of two pictures."""
    path = tmp_path / "pairs.test.jsonl"
    rows = [
        {"qry": f"a {name} square", "pos_image_path": str(photo(tmp_path / f"{name}.png", name))}
        | {"language": "en", "item": name}
        for name in ("red", "blue")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_result_is_written_below_the_run(run, pairs):
    job = jobs.start_evaluation(run, EvaluationRequest(after="starter", before=None, pairs=pairs))
    with pytest.raises(IndexerError, match="wait for it, or stop it"):
        jobs.start_evaluation(run, EvaluationRequest(after="starter", before=None, pairs=pairs))
    job.wait(120)
    assert job.error == ""
    assert job.out == run.folder / "evaluation" / "pairs.test"
    result = runs.read_result(job.out)
    benchmark = result.after.benchmark
    assert (result.before, benchmark.queries, benchmark.documents) == (None, 2, 2)
    assert RunDir(run.folder).list_evaluations()[0] == job.out


def test_the_error_of_the_command_is_shown(run, pairs):
    pairs.write_text("no pairs at all")
    job = jobs.start_evaluation(run, EvaluationRequest(after="starter", before=None, pairs=pairs))
    job.wait(60)
    assert str(pairs) in job.error
    assert "Traceback" not in job.error
    assert not job.error.startswith("error:")


def test_the_end_of_the_app_ends_what_runs(run, pairs):
    job = jobs.start_evaluation(run, EvaluationRequest(after="starter", before=None, pairs=pairs))
    assert jobs.is_any_running()
    jobs.stop_all()
    assert not jobs.is_any_running()
    assert job.stopped
    assert job._process.returncode is not None


def test_it_can_be_stopped(run, pairs):
    job = jobs.start_evaluation(
        run, EvaluationRequest(after="starter", before="starter", pairs=pairs)
    )
    job.stop()
    job.wait(20)
    assert not job.is_running
    assert job.stopped
    assert job.error == ""
    assert not (job.out / "comparison.json").exists()


def test_names_are_never_read_as_options(run, tmp_path):
    wish = EvaluationRequest(
        after="--help", before="--json", pairs=tmp_path / "-p.jsonl", reverse=True, limit=5
    )
    line = build_command(wish, tmp_path / "out")
    assert line[:4] == [sys.executable, "-m", "finetune", "compare"]
    assert line[4:7] == [f"--out={tmp_path / 'out'}", "--limit=5", "--reverse"]
    assert line[7:] == ["--", "--json", "--help", str(tmp_path / "-p.jsonl")]


def test_a_result_never_replaces_an_older_one(run, pairs):
    (run.folder / "evaluation" / "pairs.test-beside-e5-v").mkdir(parents=True)
    job = jobs.start_evaluation(
        run, EvaluationRequest(after="starter", before="royokong/e5-v", pairs=pairs)
    )
    job.stop()
    assert job.out.name == "pairs.test-beside-e5-v-2"
