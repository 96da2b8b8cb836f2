"""One process that trains, for tests of several and of ends that nobody plans.

    python worker.py JOBS.json
    python -m torch.distributed.run --nproc-per-node 2 worker.py JOBS.json

Each run's folder gets `norms.jsonl`, the length of the gradient at each step. The file holds a list
of jobs: `pairs` (a file), `recipe`, `out` (the run's folder), and `signal`,
which is a number that the first process sends itself when it has said as many lines as `after`.
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
from finetune.data.content_keys import ContentKeys
from finetune.data.files import read_pairs
from finetune.run_dir import RunDir
from finetune.training import trainer
from finetune.training.callbacks import LogCallback
from finetune.training.presets import resolve_recipe


class NormLoggingCallback(LogCallback):
    """Adam forgives a gradient of the wrong length; its length is noted for comparison."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        super().on_log(args, state, control, logs)
        if state.is_world_process_zero and "grad_norm" in logs:
            with (self._run_dir.folder / "norms.jsonl").open("a") as file:
                file.write(f"{logs['grad_norm']}\n")


def main(jobs: list[dict[str, Any]]) -> None:
    alone, trainer.LogCallback = PartialState(cpu=True), NormLoggingCallback
    for job in jobs:
        run, recipe = RunDir(Path(job["out"])), resolve_recipe(job["recipe"])
        with alone.main_process_first():
            if alone.is_main_process:
                run.start(recipe.to_dict(), {"status": "training", "data": []})
        said: list[str] = []

        def say(line: str, job: dict[str, Any] = job, said: list[str] = said) -> None:
            said.append(line)
            if len(said) == job.get("after"):
                os.kill(os.getpid(), job["signal"])

        pairs = read_pairs(Path(job["pairs"]))
        stopped = "signal" in job
        with contextlib.suppress(KeyboardInterrupt) if stopped else contextlib.nullcontext():
            trainer.train(pairs, recipe, run, Settings(device="cpu"), say, ContentKeys())
            assert not stopped, "the signal should have ended the run"


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
