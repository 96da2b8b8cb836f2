"""What a picture and a caption cost on a CPU: `python -m bench.embed_cpu [--write]`.

Models of the published sizes with random weights, in float32, on the cores that are there. CPU time
is that of all threads, and does not tell how good the vectors are. Texts are captions of 3 to 60
words, pictures photographs of many shapes that are decoded already (bench/embed_corpus.py). Memory
is the most that the process held, with the weights. Each model runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bench.report import publish, render_table

TITLE = "Models for a CPU"
PASSED_ON = ("images", "texts", "repeats", "size")
COLUMNS = {
    "image": "CPU ms a picture",
    "text": "CPU ms a caption",
    "memory": "peak MB",
    "parameters": "parameters loaded",
}


class Case(NamedTuple):
    """A model of bench/embed_models.py, and the most pixels of its pictures."""

    family: str
    label: str
    pixel_budget: int | None = None


CASES = {
    "siglip2": Case("siglip2", "`google/siglip2-base-patch16-256`"),
    "embeddinggemma2": Case("embeddinggemma2", "`google/embeddinggemma-2`"),
    "embeddinggemma2-70": Case(
        "embeddinggemma2", "the same, `--pixel-budget 162k` (70 tokens a picture)", 162_000
    ),
}


def main() -> None:
    options = _options()
    if options.case:
        print(json.dumps(measure(CASES[options.case], options)))
        return
    rows = []
    for name, case in CASES.items():
        words = [
            f"--{key}={getattr(options, key)}" for key in ("images", "texts", "repeats", "size")
        ]
        command = [sys.executable, "-m", "bench.embed_cpu", "--case", name, *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            (case.label, *(found[key] for key in ("image", "text", "memory", "parameters")))
        )
    head = ("model", "CPU ms a picture", "CPU ms a caption", "peak MB", "parameters loaded")
    publish(TITLE, f"{_describe(options)}\n\n{render_table(head, rows)}", write=options.write)


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Return the medians in milliseconds of CPU time, and the memory in MB."""
    import psutil
    import torch

    from bench.embed_corpus import make_corpus
    from bench.embed_models import build
    from bench.resource_usage import measure_usage
    from embedder.types import Settings

    corpus = make_corpus(options.texts, options.images)
    device = torch.device("cpu")
    settings = Settings(device="cpu", pixel_budget=case.pixel_budget)
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as folder:
        built = build(case.family, options.size, settings, Path(folder) / case.family)
        memory = psutil.Process().memory_info().rss / 2**20
        found: dict[str, Any] = {}
        for kind, inputs in (("image", corpus.images), ("text", corpus.texts)):
            built.engine.embed(inputs[:1], "document")  # warms up
            runs = [
                measure_usage(lambda items=inputs: built.engine.embed(items, "document"), device)
                for _ in range(options.repeats)
            ]
            found[kind] = f"{statistics.median(run.cpu for run in runs) / len(inputs) * 1000:,.0f}"
            memory = max(memory, *(run.memory for run in runs))
        count = sum(weight.numel() for weight in built.model.parameters())
    return {**found, "memory": f"{memory:,.0f}", "parameters": f"{count / 1e6:.0f} M"}


def _describe(options: argparse.Namespace) -> str:
    return (
        "Random weights, float32, the published sizes; medians of the CPU time of all threads, "
        f"over {options.images} photographs and {options.texts} captions, {options.repeats} times."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.embed_cpu", description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--case", choices=tuple(CASES), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
