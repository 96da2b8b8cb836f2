"""One process that trains, for tests of several processes and of interrupted runs.

It is forked from a process without threads that has imported this module: torch and its friends
take seconds to import, and a fork of the tests' own process may find a lock taken for ever.
Each run directory gets `norms.jsonl`, the gradient norm at each step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.state import PartialState

from embedder.types import Settings
from finetune.data.pairs import ContentKeys, Pair
from finetune.run_dir import RunDir
from finetune.training import trainer
from finetune.training.presets import Recipe
from finetune.training.trainer import LogCallback


@dataclass(frozen=True)
class Job:
    """A run, and the signal the first process sends itself after so many lines of progress."""

    recipe: Recipe
    run: RunDir
    signal: int | None = None
    after: int = 0


class NormLoggingCallback(LogCallback):
    """Logs the gradient norm: Adam hides a gradient of the wrong norm."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        super().on_log(args, state, control, logs)
        if state.is_world_process_zero and "grad_norm" in logs:
            with (self._run_dir.folder / "norms.jsonl").open("a") as file:
                file.write(f"{logs['grad_norm']}\n")


def work(pairs: Sequence[Pair], jobs: Sequence[Job], variables: Mapping[str, str]) -> None:
    """Train `jobs` one after the other; `variables` are those that torchrun would set."""
    os.environ.update(variables)
    torch.set_num_threads(1)
    state, trainer.LogCallback = PartialState(cpu=True), NormLoggingCallback
    for job in jobs:
        with state.main_process_first():
            if state.is_main_process:
                job.run.start(job.recipe.to_dict(), {"status": "training", "data": []})
        lines: list[str] = []

        def progress(line: str, job: Job = job, lines: list[str] = lines) -> None:
            lines.append(line)
            if job.signal and len(lines) == job.after:
                os.kill(os.getpid(), job.signal)

        expected = (
            contextlib.suppress(KeyboardInterrupt) if job.signal else contextlib.nullcontext()
        )
        with expected:
            trainer.train(
                pairs, job.recipe, job.run, Settings(device="cpu"), progress, ContentKeys()
            )
            assert not job.signal, "the signal should have ended the run"
