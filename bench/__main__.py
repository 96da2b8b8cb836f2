"""Run every benchmark and write the results to docs/benchmarks.md: `python -m bench`.

`--quick` runs each on little data and writes nothing; `--rclip PYTHON` measures rclip as well, with
the Python that it is installed in (see bench/pipeline.py).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

FULL = {
    "make_jpegs": ("{jpegs}", "--count", "2000"),
    "pipeline": ("{jpegs}", "--write"),
    "startup": ("--write",),
    "modules": ("--write",),
    "starter": ("--write",),
    "search": ("--write",),
    "memory": ("--write",),
    "serve": ("--write",),
    "upload": ("--write",),
    "transfer": ("--write",),
    "workers": ("{jpegs}", "--write"),
}
QUICK = {
    "make_jpegs": ("{jpegs}", "--count", "40"),
    "pipeline": ("{jpegs}", "--runs", "1"),
    "startup": ("--runs", "1"),
    "modules": ("--runs", "1"),
    "starter": ("--count", "16"),
    "search": ("--sizes", "2000", "--queries", "20"),
    "memory": ("--count", "500"),
    "serve": ("--count", "64", "--runs", "1", "--batch", "16"),
    "upload": ("--count", "512", "--runs", "1"),
    "transfer": ("--count", "1000"),
    "workers": ("{jpegs}", "--runs", "1"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rclip", help="the Python that rclip is installed in")
    options = parser.parse_args()
    plan = dict(QUICK if options.quick else FULL)
    if options.rclip:
        plan["pipeline"] += ("--rclip", options.rclip)
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        jpegs = str(Path(scratch) / "jpegs")
        for name, arguments in plan.items():
            words = [word.format(jpegs=jpegs) for word in arguments]
            print(f"== bench.{name} {' '.join(words)}", flush=True)
            subprocess.run([sys.executable, "-m", f"bench.{name}", *words], check=True)


if __name__ == "__main__":
    main()
