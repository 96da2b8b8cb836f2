"""How long a command takes, and how much memory: `python -m bench.startup [--runs 7]`.

Each run is a process of its own on a collection of the sample pictures. A cold search finds no
shard server alive and loads the model.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import publish, render_table

SAMPLES = Path(__file__).parent.parent / "samples"
COLD = 4.0  # seconds after which a shard server without clients has ended


def measure_command(arguments: list[str]) -> tuple[float, float]:
    """Seconds that the command took, and its peak memory in MB."""
    words = [sys.executable, "-m", "indexer", *arguments]
    start = time.perf_counter()
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {child.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as store:
        measure_command(["ingest", str(SAMPLES), "--store", store])
        commands = {
            "indexer --help": (["--help"], 0.0),
            "indexer status": (["status", "--store", store], 0.0),
            "indexer search, cold": (["search", "a red bicycle", "--store", store], COLD),
        }
        for name, (arguments, pause) in commands.items():
            seen = []
            for _ in range(options.runs):
                time.sleep(pause)
                seen.append(measure_command(arguments))
            times = [took for took, _ in seen]
            memory = max(peak for _, peak in seen)
            rows.append([f"`{name}`", f"{statistics.median(times):.2f}", f"{memory:.0f}"])
        time.sleep(COLD)  # before its folder goes
    head = ["", "seconds, median", "peak memory MB"]
    publish("Start-up", f"{options.runs} runs.\n\n{render_table(head, rows)}", write=options.write)


if __name__ == "__main__":
    main()
