"""What commands that work on files of pairs share: where the result goes, and how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from embedder.cli.console import print_note, replace_unprintable

PROGRESS_INTERVAL = 10.0  # seconds between two lines

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="Where to: a file of JSON lines.")
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where the pictures are, if not beside their table."),
]


@dataclass(slots=True)
class ProgressPrinter:
    """A line on stderr now and then: what is done, how many of how many."""

    label: str = ""
    last_printed: float = field(default_factory=time.monotonic)

    def __call__(self, done: int, total: int) -> None:
        self.print_line(f"{self.label}: {done} of {total}")

    def print_line(self, text: str) -> None:
        if time.monotonic() - self.last_printed >= PROGRESS_INTERVAL:
            self.last_printed = time.monotonic()
            print_note(replace_unprintable(text))


def check_output_path(out: Path) -> None:
    """Raise `BadParameter` where the result would not be read again as what it is."""
    if out.suffix.lower() not in {".jsonl", ".ndjson"}:
        raise typer.BadParameter(f"--out is a file of JSON lines: {out.with_suffix('.jsonl')}")
