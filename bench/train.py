"""Training with and without GradCache: `python -m bench.train --size small --random-weights`.

Two recipes on models with random weights: E5-V's texts (language model alone) and VLM2Vec's
captions and photographs. A step of ours embeds mini-batches twice (finetune/training/losses.py);
beside it a plain loop keeps the whole batch's graph, at the largest batch that fits. Each
measurement has a process of its own. What is not measured: reading of files, and what training is
good for. `--size full` wants a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from bench.report import publish, render_table

RECIPES = {"e5v": "e5v", "vlm2vec": "vlm2vec-qwen2vl"}
NOTE = """Random weights, LoRA as in the presets, gradient checkpointing in both. `cached` is a
step of ours; `plain` a step whose graph is held whole, and `fits` the largest such batch that was
tried with success. Peak memory is the device's, or the process's on a CPU.
"""


def main() -> None:
    options = _options()
    if options.child:
        from bench.train_measure import measure

        print(json.dumps(measure(options.child, RECIPES[options.child], options)))
        return
    rows = []
    for recipe in options.recipe:
        for batch in options.batch:
            measured = _measure_in_subprocess(recipe, "cached", batch, options)
            rows.append(_render_row(recipe, "cached", measured, batch))
        rows.append(_find_largest_plain(recipe, options))
    head = ("recipe", "step", "batch", "pairs/s", "seconds a step", "peak MB")
    device = "a GPU" if options.device == "cuda" else "a CPU"
    title = f"Training, {options.size} models on {device}"
    publish(title, f"{NOTE}\n{render_table(head, rows)}", write=options.publish)


def _find_largest_plain(recipe: str, options: argparse.Namespace) -> list[object]:
    """Halve the batch until the plain loop fits."""
    batch = max(options.batch)
    while batch >= 2:
        figures = _measure_in_subprocess(recipe, "plain", batch, options)
        if figures:
            return _render_row(recipe, "plain, fits", figures, batch)
        batch //= 2
    return [recipe, "plain", "none fits", "-", "-", "-"]


def _render_row(recipe: str, way: str, figures: dict[str, Any] | None, batch: int) -> list[object]:
    if figures is None:
        return [recipe, way, batch, "out of memory", "-", "-"]
    seconds = figures["seconds"]
    return [
        recipe,
        way,
        batch,
        f"{batch / seconds:.1f}",
        f"{seconds:.2f}",
        f"{figures['peak']:,.0f}",
    ]


def _measure_in_subprocess(
    recipe: str, way: str, batch: int, options: argparse.Namespace
) -> dict[str, Any] | None:
    """The figures of a step; None where memory ran out."""
    words = ["--child", recipe, "--way", way, "--batch", str(batch), "--size", options.size]
    words += ["--random-weights", "--steps", str(options.steps)]
    words += ["--device", options.device] if options.device else []
    print(f"-- {recipe}, {way}, {batch} pairs", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "bench.train", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1])
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.train", description=__doc__)
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--random-weights", action="store_true", required=True)
    parser.add_argument("--device", help="cpu, cuda; default: the best that is there")
    parser.add_argument("--batch", nargs="+", type=int, default=[16, 32], help="pairs")
    parser.add_argument("--steps", type=int, default=3, help="the figures are medians")
    parser.add_argument("--publish", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--child", choices=RECIPES, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=("cached", "plain"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
