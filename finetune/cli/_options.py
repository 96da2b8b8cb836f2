"""What several commands share: options, progress on stderr, and checks of paths."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from embedder.cli.console import PeriodicNotes, inject, print_note
from embedder.escaping import replace_unprintable

Out = Annotated[
    Path, Option("--out", "-o", metavar="FILE", help="Where to write: a JSON Lines file.")
]
Images = Annotated[
    Path | None, Option(metavar="FOLDER", help="Where the pictures are, if not beside the table.")
]
DatasetSplit = Annotated[
    str | None,
    Option(
        "--dataset-split",
        metavar="NAME",
        help="Which split to read of folders that have several, such as those of MMEB-train.",
        show_default="original, else train",
    ),
]

CIRR_TEST = "cirr-test"  # a benchmark without metrics: its targets are not published

BENCHMARK_OPTIONS: dict[str, Any] = {
    "benchmark": Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="PATH is a published dataset: mmeb, mmeb-visdoc, mcmr, xtd, xm3600, "
            "flickr30k, coco, flickr30k-drawn, coco-drawn, cirr, cirr-subset, cirr-test, "
            "fashioniq, sts; or mteb:TASK of mteb.",
        ),
    ],
    "among": Annotated[
        Path | None, Option(metavar="FILE", help="More pairs to search among, both sides.")
    ],
    "reverse": Annotated[bool, Option("--reverse", help="Search in both directions.")],
    "limit": Annotated[
        int | None, Option(min=1, metavar="N", help="Use this many queries, drawn at random.")
    ],
    "seed": Annotated[
        int | None, Option(metavar="N", help="The seed of --limit.", show_default="0")
    ],
    "images": Images,
    "font": Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="The font of drawn captions.",
            show_default="Arial, or Liberation Sans",
        ),
    ],
    "without_instructions": Annotated[
        bool, Option("--plain", help="Leave out instructions, for models without them.")
    ],
}


def takes_benchmark_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A decorator: the command has the options of a benchmark, and gets `benchmark_flags`."""
    return inject("benchmark_flags", _check_benchmark_flags, BENCHMARK_OPTIONS)(command)


def _check_benchmark_flags(**flags: Any) -> dict[str, Any]:
    if flags["benchmark"] and (flags["among"] or flags["reverse"]):
        raise typer.BadParameter("--among and --reverse need pairs, not a published dataset")
    is_mteb = (flags["benchmark"] or "").startswith("mteb:")
    if is_mteb and (flags["limit"] or flags["images"] or flags["font"]):
        raise typer.BadParameter("mteb's tasks do not take --limit, --images or --font")
    if flags["benchmark"] == CIRR_TEST and flags["limit"]:
        raise typer.BadParameter("CIRR's test server takes the whole test split: no --limit")
    return {**flags, "seed": flags["seed"] or 0}


@contextmanager
def show_progress() -> Iterator[Callable[[str], None]]:
    """Show progress: one changing line on a terminal, otherwise a line now and then."""
    if not sys.stderr.isatty():
        yield PeriodicNotes()
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("reading") as status:
        yield lambda text: status.update(replace_unprintable(text).replace("[", "\\["))


def check_output_path(out: Path) -> None:
    """Raise `BadParameter` if `out` would not be read as JSON Lines."""
    if out.suffix.lower() not in {".jsonl", ".ndjson"}:
        raise typer.BadParameter(f"--out must be a JSON Lines file: {out.with_suffix('.jsonl')}")


def print_chosen_split(path: Path, split: str) -> None:
    """Print which split is read of a folder that has several; raises `DataError`."""
    from finetune.data.tables import describe_splits, find_tables

    chosen = describe_splits(find_tables(path, split))
    if chosen:
        print_note(f"read of {path}: the split {chosen}")


def print_location(out: Path | None, file_name: str) -> None:
    if out is not None:
        print_note(f"written to {out / file_name}")
