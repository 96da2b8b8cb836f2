"""Runs and their results, read from their folders; what is damaged is said to be."""

from __future__ import annotations

import json
import os
import time

import pytest

from app import runs
from app.views.quality_comparison import describe_change, describe_metric, format_direction
from finetune.errors import DataError
from finetune.evaluation.report import MetricChange
from finetune.run_dir import STALLED_SECONDS, RunDir
from indexer.errors import IndexerError


@pytest.fixture(autouse=True)
def settings(empty_store):
    """Those of this test."""


def again(folder, **news):
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **news}))


def test_runs_are_listed_newest_first(run_folder):
    other = run_folder.parent / "later"
    other.mkdir()
    (other / "run.json").write_text((run_folder / "run.json").read_text())
    again(other, created="2026-02-01T00:00:00+00:00")
    assert [run.folder for run in runs.list_all()] == [other, run_folder]
    run = runs.list_all()[1]
    assert (run.name, run.status, run.base, run.pairs) == ("shop", "done", "starter", 1234)
    assert run.languages == ("de", "ja")


@pytest.mark.parametrize("text", ['{"format": 1, "na', "[]", "{}", '{"base": 7}', "\x00\xff"])
def test_a_half_written_run_has_an_error(run_folder, text):
    (run_folder / "run.json").write_text(text)
    (run,) = runs.list_all()
    assert "run.json is damaged" in run.error


def test_a_run_whose_folder_no_page_can_name_is_left_out(run_folder):
    run_folder.rename(os.fsdecode(os.fsencode(run_folder) + b"\xff"))
    assert runs.list_all() == []


def test_runs_in_other_folders_are_added_and_forgotten(run_folder, tmp_path):
    moved = tmp_path / "elsewhere" / "shop"
    moved.parent.mkdir()
    run_folder.rename(moved)
    assert runs.list_all() == []
    runs.add(moved)
    runs.add(moved)
    assert [run.folder for run in runs.list_all()] == [moved]
    runs.forget(moved)
    assert runs.list_all() == []
    assert (moved / "run.json").is_file()
    with pytest.raises(IndexerError, match="is not the folder of a run"):
        runs.add(tmp_path)


def test_losses_are_thinned_and_cut_lines_are_left_out(run_folder):
    assert RunDir(run_folder).read_losses(500)[-1] == (10, 2.0)
    with (run_folder / "log.jsonl").open("a") as file:
        file.write('{"step": 10, "loss": 1.5}\n{"step": 11, "loss": NaN')
    assert RunDir(run_folder).read_losses(500)[-1] == (10, 1.5), "of a step done twice, the later"
    text = "".join(json.dumps({"step": n, "loss": 1.0}) + "\n" for n in range(5000))
    (run_folder / "log.jsonl").write_text(text)
    assert len(RunDir(run_folder).read_losses(500)) == 500
    assert RunDir(run_folder).read_losses(500)[-1] == (4999, 1.0)


def test_a_run_that_stopped_writing_is_stalled(run_folder):
    again(run_folder, status="training")
    assert not runs.is_stalled(runs.list_all()[0])
    long_ago = time.time() - 2 * STALLED_SECONDS
    for name in ("run.json", "log.jsonl"):
        os.utime(run_folder / name, (long_ago, long_ago))
    assert runs.is_stalled(runs.list_all()[0])


def test_a_comparison_is_read_with_both_reports(run_folder):
    (folder,) = RunDir(run_folder).list_evaluations()
    result = runs.read_result(folder)
    assert (result.before.model.name, result.after.model.name) == ("before", "after")
    assert result.after.metrics["recall@10"].mean == 0.65
    assert result.changes["recall@10"].sign == 1
    assert result.changes["mrr"].sign == 0
    assert [group.language for group in result.after.groups] == ["de", "ja", "de"]


def test_an_evaluation_alone_is_read_too(run_folder):
    folder = run_folder / "evaluation" / "held-out"
    (folder / "comparison.json").unlink()
    (folder / "after").rename(run_folder / "evaluation" / "alone")
    (alone,) = RunDir(run_folder).list_evaluations()
    assert alone.name == "alone"
    assert runs.read_result(alone).before is None


@pytest.mark.parametrize("name", ["comparison.json", "before/report.json", "after/report.json"])
@pytest.mark.parametrize("text", ["{", '{"overall": 1, "metrics": {}}', "null"])
def test_damaged_results_are_an_error(run_folder, name, text):
    folder = run_folder / "evaluation" / "held-out"
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=name):
        runs.read_result(folder)


def test_results_of_the_worst_and_the_hardest_queries(run_folder):
    folder = run_folder / "evaluation" / "held-out"
    results = runs.find_query_results(
        folder / "after" / "queries.jsonl", runs.read_result(folder).worst
    )
    assert {id: result.rank for id, result in results.items()} == {"a": 3}
    assert results["a"].found[1]["text"] == "something else"
    assert runs.find_hardest_ids(folder / "after" / "queries.jsonl") == ("a",), "b is found first"
    assert runs.find_hardest_ids(folder / "before" / "queries.jsonl") == ("b",)


def test_a_verdict_is_beyond_chance_or_not():
    better = MetricChange(0.4, 0.65, 0.25, 0.1, 0.4, 0.0001)
    assert describe_change("recall@10", better) == (
        "Better, beyond chance: recall@10 rose by 25.0 points. The 95 % interval of the change is "
        "+10.0 to +40.0 (p < 0.001)."
    )
    worse = MetricChange(0.5, 0.4, -0.1, -0.2, -0.01, 0.03)
    assert describe_change("mrr", worse).startswith(
        "Worse, beyond chance: mrr fell by 10.0 points."
    )
    unsure = MetricChange(0.5, 0.6, 0.1, -0.01, 0.2, 0.06)
    assert describe_change("mrr", unsure).startswith(
        "No difference beyond chance: mrr rose by 10.0"
    )
    same = MetricChange(0.5, 0.5, 0.0, 0.0, 0.0, 1.0)
    assert "did not change" in describe_change("mrr", same)


def test_directions_and_metrics_are_described():
    assert format_direction("t2i") == "Words to pictures"
    assert format_direction("it2i") == "Pictures with words to pictures"
    assert format_direction("odd") == "odd"
    assert describe_metric("recall@5").endswith("among the first 5")
    assert describe_metric("own@3") == ""
