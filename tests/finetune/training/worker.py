"""One process that trains, for tests of several and of ends that nobody plans.

    python worker.py JOBS.json
    python -m torch.distributed.run --nproc-per-node 2 worker.py JOBS.json

The file holds a list of jobs: `pairs` (a file), `recipe`, `out` (the run's folder), and `signal`,
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
from finetune.data.files import read_pairs
from finetune.training.recipe import settle
from finetune.training.run import Run
from finetune.training.training import train


def main(jobs: list[dict[str, Any]]) -> None:
    alone = PartialState(cpu=True)
    for job in jobs:
        run, recipe = Run(Path(job["out"])), settle(job["recipe"])
        with alone.main_process_first():
            if alone.is_main_process:
                run.begin(recipe, {"status": "training", "data": []})
        said: list[str] = []

        def say(line: str, job: dict[str, Any] = job, said: list[str] = said) -> None:
            said.append(line)
            if len(said) == job.get("after"):
                os.kill(os.getpid(), job["signal"])

        pairs = read_pairs(Path(job["pairs"]))
        stopped = "signal" in job
        with contextlib.suppress(KeyboardInterrupt) if stopped else contextlib.nullcontext():
            train(pairs, recipe, run, Settings(device="cpu"), say)
            assert not stopped, "the signal should have ended the run"


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
