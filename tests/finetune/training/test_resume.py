"""Interrupted runs resume with the same result as uninterrupted ones."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.errors import DataError, FinetuneError
from finetune.run_dir import RunDir
from finetune.training.data_loading import Collator, InterleavedBatchSampler

AT_ODDS = {"steps": 6, "save_every": 3, "lora": {"dropout": 0.3}}  # two steps are an epoch


@pytest.fixture(scope="module")
def run_recipe(recipe):
    return recipe(**AT_ODDS)


@pytest.fixture(scope="module")
def whole(train_in, texts, run_recipe, tmp_path_factory) -> RunDir:
    """The run that nothing interrupts."""
    return train_in(tmp_path_factory.mktemp("whole") / "run", texts, run_recipe)


def same(one: RunDir, other: RunDir) -> None:
    assert [line["loss"] for line in one.read_log()] == [line["loss"] for line in other.read_log()]
    first, second = (load_file(run.model / "adapter_model.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resume_after_sigkill(trained, texts, run_recipe, whole, train_in_processes):
    (killed,) = train_in_processes(
        texts, (run_recipe, "killed", {"signal": signal.SIGKILL, "after": 4}), status=-9
    )
    assert [line["step"] for line in killed.read_log()] == [1, 2, 3, 4]
    assert killed.last_checkpoint().name == "checkpoint-3"
    assert not killed.model.exists()
    same(trained(texts, run_recipe, "killed"), whole)
    assert len(killed.read_log()) == 6


def interrupting(times: int):
    """A progress that sends so many signals after the first line."""
    lines = []

    def progress(line: str) -> None:
        lines.append(line)
        for _ in range(times if len(lines) == 1 else 0):
            os.kill(os.getpid(), signal.SIGINT)

    return progress


def test_ctrl_c_saves_the_current_step(trained, texts, run_recipe, whole, tmp_path):
    """At the end of an epoch; the next has an order of its own."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained(texts, run_recipe, "stopped", interrupting(1))
    assert signal.getsignal(signal.SIGINT) is before
    stopped = RunDir(tmp_path / "stopped")
    assert stopped.last_checkpoint().name == "checkpoint-2"
    assert not stopped.model.exists()
    same(trained(texts, run_recipe, "stopped"), whole)


def test_a_second_ctrl_c_stops_immediately(trained, texts, run_recipe, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained(texts, run_recipe, "stopped", interrupting(2))
    assert signal.getsignal(signal.SIGINT) is before
    assert RunDir(tmp_path / "stopped").last_checkpoint() is None


def test_an_incomplete_checkpoint_is_skipped(trained, texts, run_recipe, whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "cut")
    cut = RunDir(tmp_path / "cut")
    (cut.checkpoints / "checkpoint-6" / "trainer_state.json").write_text('{"epoch": 3')
    shutil.rmtree(cut.model)
    assert cut.last_checkpoint().name == "checkpoint-3"
    same(trained(texts, run_recipe, "cut"), whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_seed_decides_everything(trained, texts, run_recipe, whole, workers):
    """Also where processes of their own prepare the batches."""
    same(trained(texts, replace(run_recipe, workers=workers), "again"), whole)


def test_every_epoch_has_its_own_order(trained, texts, run_recipe, monkeypatch):
    seen = []
    collate = Collator.__call__

    def watched(self, rows):
        seen.append([row["row"] for row in rows])
        return collate(self, rows)

    monkeypatch.setattr(Collator, "__call__", watched)
    trained(texts, run_recipe)
    sampler, expected = InterleavedBatchSampler([""] * 12, 6, 0, run_recipe.seed), []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert seen == expected
    assert sorted(seen[2] + seen[3]) == list(range(12))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_reported_in_one_line(trained, recipe, mixed, workers):
    """The image is damaged after the data was read: only the step that needs it finds out."""
    broken = mixed[0].positive.image
    Path(broken).write_bytes(Path(broken).read_bytes()[:200])
    run_recipe = recipe("vlm2vec", "vlm2vec-qwen2vl", "V2", workers=workers)
    with pytest.raises(DataError) as caught:
        trained([pair for pair in mixed if not pair.query.instruction], run_recipe)
    assert str(caught.value).startswith(f"{broken} cannot be used: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_loss_that_is_not_finite_stops_the_run(trained, texts, recipe):
    with pytest.raises(FinetuneError, match=r"not a finite number after step .*lower --rate"):
        trained(texts, recipe(rate=1e30, steps=6, save_every=1))


def test_the_last_step_is_logged(trained, texts, recipe):
    run = trained(texts, recipe(steps=5, log_every=3))
    assert [line["step"] for line in run.read_log()] == [1, 3, 5]
