"""The folder of a run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml

from finetune.errors import FinetuneError
from finetune.run_dir import RunDir, describe_files
from finetune.training.presets import resolve_recipe

RECIPE = resolve_recipe({"preset": "vlm2vec", "rate": 1e-5})
DATA = {"status": "training", "data": [{"path": "/pairs.jsonl", "blake3": "00", "pairs": 3}]}


@pytest.fixture
def run(tmp_path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.start(RECIPE.to_dict(), DATA)
    return run


def test_what_a_run_holds(run):
    told = run.read_metadata()
    assert (told["format"], told["name"], told["status"]) == (1, "run", "training")
    assert resolve_recipe(yaml.safe_load((run.folder / "config.yaml").read_text())) == RECIPE
    run.update_metadata({"status": "stopped", "steps": 3})
    assert run.read_metadata() == {**told, "status": "stopped", "steps": 3}
    assert {path.name for path in run.folder.iterdir()} == {"run.json", "config.yaml"}


def test_the_same_again_goes_on(run):
    created = run.read_metadata()["created"]
    run.start(RECIPE.to_dict(), DATA)
    assert run.read_metadata()["created"] == created


@pytest.mark.parametrize(
    ("recipe", "data", "said"),
    [
        (replace(RECIPE, rate=2e-5), DATA, r"other settings \(rate\)"),
        (replace(RECIPE, lora=replace(RECIPE.lora, rank=3)), DATA, r"\(lora\)"),
        (RECIPE, {"data": []}, r"\(the data\); give the same"),
    ],
)
def test_something_else_is_another_run(run, recipe, data, said):
    before = run.read_metadata()
    with pytest.raises(FinetuneError, match=said):
        run.start(recipe.to_dict(), data)
    assert run.read_metadata() == before


def test_folders_that_are_taken(run, tmp_path):
    run.update_metadata({"status": "done"})
    with pytest.raises(FinetuneError, match="is done; choose another --out"):
        run.start(RECIPE.to_dict(), DATA)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FinetuneError, match="is not empty and not a run directory"):
        RunDir(tmp_path).start(RECIPE.to_dict(), DATA)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(FinetuneError, match="is damaged"):
        run.start(RECIPE.to_dict(), DATA)


def test_a_log_that_was_cut_and_gone_on_with(run):
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


def test_data_is_known_by_its_content(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"a")
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"qry": "a"}))
    first, second = describe_files([folder, file])
    assert first["path"] == str(folder) and len(second["blake3"]) == 32
    (folder / "a.parquet").write_bytes(b"b")
    assert describe_files([folder])[0]["blake3"] != first["blake3"]
    assert describe_files([file]) == [second]
