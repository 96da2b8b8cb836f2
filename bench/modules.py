"""How many modules a command goes through: `python -m bench.modules [--runs 9]`.

Counts the modules of Polylens in which a function runs, while one image is ingested and while one
text is searched for: how much code there is to read behind each. `indexer --help` is timed too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import FrameType

from bench.report import publish, render_table

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "embedder", "finetune", "indexer")
IMAGE = next(iter(sorted((ROOT / "samples" / "food").glob("*.jpg"))))


def count_modules(arguments: list[str]) -> list[str]:
    """Run `indexer ARGUMENTS` in this process; the modules whose functions ran."""
    from indexer.cli import main

    modules: set[str] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code  # bodies of modules and classes are not optimized code
        if event == "call" and code.co_flags & CO_OPTIMIZED:
            path = Path(code.co_filename)
            if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
                modules.add(str(path.relative_to(ROOT)))

    argv, sys.argv = sys.argv, ["indexer", *arguments]
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        main()
    except SystemExit as exit:
        if exit.code:
            raise
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        sys.argv = argv
    return sorted(modules)


def time_help(runs: int) -> float:
    """Median seconds of `indexer --help`."""
    command = [sys.executable, "-m", "indexer", "--help"]
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="of indexer --help")
    parser.add_argument("--list", action="store_true", help="name the modules")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        os.environ.update(POLYLENS_STORE=f"{scratch}/store", XDG_DATA_HOME=scratch)
        ingest = count_modules(["ingest", str(IMAGE), "--quiet"])
        count_modules(["search", "a red bicycle", "--json"])  # draws the calibration sample
        search = count_modules(["search", "a blue bicycle", "--json"])
    rows = [
        ["modules entered by the ingest of one image", len(ingest)],
        ["modules entered by a text search", len(search)],
        ["`indexer --help`, seconds", f"{time_help(options.runs):.2f}"],
    ]
    if options.list:
        print("\n".join(["ingest:", *ingest, "", "search:", *search, ""]))
    publish("Modules", render_table(["", ""], rows), write=options.write)


if __name__ == "__main__":
    main()
