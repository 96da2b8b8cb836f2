"""One process that trains, for tests of several processes and of interrupted runs.

    python worker.py JOBS.json
    python -m torch.distributed.run --nproc-per-node 2 worker.py JOBS.json

Each run directory gets `norms.jsonl`, the gradient norm at each step. The file holds a list of
jobs: `pairs` (a file), `recipe`, `out` (the run directory), and `signal`, the number of a signal
that the first process sends itself after as many lines of progress as `after`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from accelerate import PartialState

from embedder.types import Settings
from finetune.data.files import read_pairs
from finetune.data.pairs import ContentKeys
from finetune.run_dir import RunDir
from finetune.training import trainer
from finetune.training.presets import resolve_recipe
from finetune.training.trainer import LogCallback


class NormLoggingCallback(LogCallback):
    """Logs the gradient norm: Adam hides a gradient of the wrong norm."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        super().on_log(args, state, control, logs)
        if state.is_world_process_zero and "grad_norm" in logs:
            with (self._run_dir.folder / "norms.jsonl").open("a") as file:
                file.write(f"{logs['grad_norm']}\n")


def main(jobs: list[dict[str, Any]]) -> None:
    state, trainer.LogCallback = PartialState(cpu=True), NormLoggingCallback
    for job in jobs:
        run, recipe = RunDir(Path(job["out"])), resolve_recipe(job["recipe"])
        with state.main_process_first():
            if state.is_main_process:
                run.start(recipe.to_dict(), {"status": "training", "data": []})
        lines: list[str] = []

        def progress(line: str, job: dict[str, Any] = job, lines: list[str] = lines) -> None:
            lines.append(line)
            if len(lines) == job.get("after"):
                os.kill(os.getpid(), job["signal"])

        pairs = read_pairs(Path(job["pairs"]))
        stopped = "signal" in job
        with contextlib.suppress(KeyboardInterrupt) if stopped else contextlib.nullcontext():
            trainer.train(pairs, recipe, run, Settings(device="cpu"), progress, ContentKeys())
            assert not stopped, "the signal should have ended the run"


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
