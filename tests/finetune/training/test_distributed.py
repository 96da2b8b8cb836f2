"""Two processes that share a batch train like one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from finetune.data.files import write_pairs
from finetune.data.pairs import Pair, Side
from finetune.run_dir import RunDir

ROOT = Path(__file__).parents[3]

ALIKE = [
    Pair(Side("red"), Side("rot"), (Side("grün"), Side("gelb"), Side("rouge"))),
    Pair(Side("crimson"), Side("rot"), (Side("rosa"),)),
    Pair(Side("red"), Side("rouge"), item="color"),
    Pair(Side("blue"), Side("blau"), item="color"),
]


@pytest.fixture
def pairs(texts) -> list[Pair]:
    """Of the twelve, four share positives, negatives or items."""
    return [*ALIKE, *texts[4:]]


def weights(run) -> dict[str, np.ndarray]:
    found = load_file(run.model / "adapter_model.safetensors")
    return {name: tensor.numpy() for name, tensor in found.items()}


def same(one, other) -> None:
    assert [line["step"] for line in one.read_log()] == [line["step"] for line in other.read_log()]
    for a, b in zip(one.read_log(), other.read_log(), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=2e-6)
        assert a["lr"] == b["lr"]
    norms = [np.loadtxt(run.folder / "norms.jsonl") for run in (one, other)]
    np.testing.assert_allclose(*norms, rtol=1e-4)
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        np.testing.assert_allclose(weight, second[name], rtol=1e-4, atol=2e-6, err_msg=name)


def test_two_processes_equal_one(trained, recipe, pairs, train_in_processes, norm_logging):
    """A batch of all pairs, each process with mini-batches and hard negatives of its own number;
    then half the pairs, without hard negatives, stopped by one process within the second epoch, and
    gone on with."""
    changes = {"hard_negatives": "own", "both_ways": True, "matryoshka": [8], "step_tokens": 64}
    whole = recipe(batch=12, rate=3e-4, lora={"dropout": 0}, **changes)
    parts = replace(whole, batch=6, hard_negatives="none", both_ways=False)
    stopped = {"signal": signal.SIGINT, "after": 2}
    two, stopping = train_in_processes(
        pairs,
        (whole, "two", {}),
        (parts, "mini_batches", stopped),
        (parts, "mini_batches", {}),
        processes=2,
    )[:2]
    same(two, trained(pairs, whole, "one"))
    same(stopping, trained(pairs, parts, "whole"))
    assert stopping.last_checkpoint().name == "checkpoint-4"
    assert (stopping.checkpoints / "checkpoint-3").exists()  # where the signal ended it


@pytest.mark.slow  # each process imports torch twice
def test_torchrun_starts_one_run(recipe, texts, tmp_path):
    """The command with its real launcher: it splits each batch, evaluates, and reports once."""
    run, data, test = RunDir(tmp_path / "run"), tmp_path / "pairs.jsonl", tmp_path / "test.jsonl"
    write_pairs(data, texts[:8])
    write_pairs(test, texts[8:])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, "-m", "finetune", "train", data, "--test", test]
    command += ["--model", recipe().model, "--preset", "e5v", "--out", run.folder]
    command += ["--steps", "2", "--batch", "4", "--set", "quantize=none", "--set", "log_every=1"]
    done = subprocess.run(
        list(map(str, [*command, "--device", "cpu", "--json"])),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert (report["run"], report["steps"]) == (str(run.folder), 2)
    assert report["measured"]
    assert [line["step"] for line in run.read_log()] == [1, 2]
    assert weights(run)
