"""The run directory."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import yaml

from finetune.data.tables import describe_files
from finetune.errors import FinetuneError
from finetune.run_dir import RunDir, list_runs
from finetune.training.presets import resolve_recipe

RECIPE = resolve_recipe({"preset": "vlm2vec", "rate": 1e-5})
DATA = {"status": "training", "data": [{"path": "/pairs.jsonl", "blake3": "00", "pairs": 3}]}


@pytest.fixture
def run(tmp_path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.start(RECIPE.to_dict(), DATA)
    return run


def test_files_of_a_new_run(run):
    metadata = run.read_metadata()
    assert (metadata["format"], metadata["name"], metadata["status"]) == (1, "run", "training")
    assert resolve_recipe(yaml.safe_load((run.folder / "config.yaml").read_text())) == RECIPE
    run.update_metadata({"status": "stopped", "steps": 3})
    assert run.read_metadata() == {**metadata, "status": "stopped", "steps": 3}
    assert {path.name for path in run.folder.iterdir()} == {"run.json", "config.yaml"}
    assert run.folder.stat().st_mode & 0o777 == 0o700, "it holds captions"


def test_the_same_recipe_and_data_resume(run):
    created = run.read_metadata()["created"]
    run.start(RECIPE.to_dict(), DATA)
    assert run.read_metadata()["created"] == created


@pytest.mark.parametrize(
    ("recipe", "data", "message"),
    [
        (replace(RECIPE, rate=2e-5), DATA, r"other settings \(rate\)"),
        (replace(RECIPE, lora=replace(RECIPE.lora, rank=3)), DATA, r"\(lora\)"),
        (RECIPE, {"data": []}, r"\(the data\); give the same"),
    ],
)
def test_another_recipe_or_data_is_refused(run, recipe, data, message):
    before = run.read_metadata()
    with pytest.raises(FinetuneError, match=message):
        run.start(recipe.to_dict(), data)
    assert run.read_metadata() == before


def test_folders_that_cannot_be_used(run, tmp_path):
    run.update_metadata({"status": "done"})
    with pytest.raises(FinetuneError, match="is done; choose another --out"):
        run.start(RECIPE.to_dict(), DATA)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FinetuneError, match="is not empty and not a run directory"):
        RunDir(tmp_path).start(RECIPE.to_dict(), DATA)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(FinetuneError, match="is damaged"):
        run.start(RECIPE.to_dict(), DATA)


def test_a_truncated_log_that_was_resumed(run):
    for step, loss in ((1, 3.0), (2, 2.0)):
        run.append_log({"step": step, "loss": loss})
    with (run.folder / "log.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    run.append_log({"step": 2, "loss": 2.5})
    run.append_log({"step": 3, "loss": 1.0})
    assert [(line["step"], line["loss"]) for line in run.read_log()] == [
        (1, 3.0),
        (2, 2.5),
        (3, 1.0),
    ]


def test_files_are_described_by_content(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"a")
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"qry": "a"}))
    first, second = describe_files([folder, file])
    assert first["path"] == str(folder) and len(second["blake3"]) == 32
    assert (first["split"], second["split"]) == ("", "")
    (folder / "a.parquet").write_bytes(b"b")
    assert describe_files([folder])[0]["blake3"] != first["blake3"]
    assert describe_files([file]) == [second]
    for split in ("original", "train"):
        (folder / f"{split}.jsonl").write_text(split)
    original, train = (describe_files([folder], split)[0] for split in ("original", "train"))
    assert original["split"] == "original of 1 data set (others: train)"
    assert original["blake3"] != train["blake3"]


def test_a_run_is_described_in_any_state(run):
    run.update_metadata({"base": {"name": "starter"}, "pairs": 3, "languages": ["de"]})
    info = run.describe()
    assert (info.name, info.status, info.base, info.pairs) == ("run", "training", "starter", 3)
    assert (info.languages, info.error) == (("de",), "")
    assert 0 <= run.seconds_since_write() < 60
    for content in (
        '{"created": "2026',
        "[1]",
        '{"name": "x"}',
        '{"created": "", "status": "done"}',
    ):
        (run.folder / "run.json").write_text(content)
        assert "run.json is damaged" in run.describe().error
    assert [one.folder for one in list_runs(run.folder.parent)] == [run.folder]
    missing = RunDir(run.folder / "missing")
    assert "missing/run.json" in missing.describe().error
    assert missing.seconds_since_write() == float("inf")


def test_losses_are_thinned_and_end_with_the_last_step(run):
    assert run.read_losses() == []
    for step in range(1, 12):
        run.append_log({"step": step, "loss": 1 / step if step != 4 else float("nan")})
    assert [step for step, _ in run.read_losses()] == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [step for step, _ in run.read_losses(max_points=4)] == [1, 5, 8, 11]


def test_evaluations_are_listed_newest_first(run):
    for age, name in enumerate(("new", "old")):
        folder = run.evaluation / name
        folder.mkdir(parents=True)
        for file in ("report.json", "comparison.json"):
            (folder / file).write_text("{}")
            os.utime(folder / file, (1000 - age, 1000 - age))
    assert [folder.name for folder in run.list_evaluations()] == ["new", "old"]
