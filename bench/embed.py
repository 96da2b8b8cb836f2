"""Ours against the authors' recipes: `python -m bench.embed --size small --random-weights`.

Each family's model is built with random weights and embeds a corpus of captions, photographs, and
both together, in turns with the recipe of its authors on the same model (bench/embed_reference.py),
once it is sure that both give the same vectors. What is not measured: decoding of files, reading of
checkpoints, and what the vectors are worth. `--size full` wants a GPU; `--ingest` also measures
how busy the device is when pictures come in batches, as the indexer brings them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.embed_report import render_body
from bench.report import publish

FAMILIES = (  # bench/embed_models.py knows them; importing it would import torch here
    "e5v",
    "vlm2vec-qwen2vl",
    "vlm2vec-qwen25vl",
    "vlm2vec-llava",
    "mme5",
    "qwen3-vl-embedding",
    "siglip2",
)


def main() -> None:
    options = _options()
    if len(options.family) == 1 and options.json:
        from bench.embed_measure import measure

        figures = measure(options.family[0], options)
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    else:
        figures = [_measure_in_subprocess(family, options) for family in options.family]
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1), "utf-8")
        title = f"Embedding, {options.size} models on {figures[0]['device']}"
        publish(title, render_body(figures), write=options.publish)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.embed", description=__doc__)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--size", choices=("small", "full", "larger"), default="small")
    parser.add_argument("--random-weights", action="store_true", required=True)
    parser.add_argument("--device", help="cpu, cuda; default: the best that is there")
    parser.add_argument("--images", type=int, default=16, help="and half as many with words")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3, help="the figures are medians")
    parser.add_argument("--seconds", type=float, default=0, help="go on for so long, at least")
    parser.add_argument("--ingest", action="store_true")
    parser.add_argument("--json", type=Path, help="the figures, for a program")
    parser.add_argument("--publish", action="store_true", help="into docs/benchmarks.md")
    return parser.parse_args()


def _measure_in_subprocess(family: str, options: argparse.Namespace) -> dict[str, Any]:
    """A family's figures, measured in a process of its own, with memory of its own."""
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        file = Path(scratch) / "figures.json"
        words = ["--family", family, "--size", options.size, "--random-weights"]
        for name in ("device", "images", "texts", "repeats", "seconds"):
            words += [f"--{name}", str(value)] if (value := getattr(options, name)) else []
        words += ["--ingest"] * options.ingest + ["--json", str(file)]
        print(f"-- {family}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "bench.embed", *words], check=True)
        figures: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return figures


if __name__ == "__main__":
    main()
