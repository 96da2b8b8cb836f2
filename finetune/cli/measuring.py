"""`evaluate` and `compare`: how good a model is, and whether another is better."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedder import options
from embedder.console import note, shown, write_json
from embedder.registry import DEFAULT_MODEL
from embedder.types import Settings

if TYPE_CHECKING:
    from finetune.evaluation.asking import Asked
    from finetune.evaluation.comparison import Comparison
    from finetune.evaluation.report import Report

app = typer.Typer()

EVERY = 10.0  # seconds between two lines of progress off a terminal

EVALUATE_EXAMPLES = """
Examples:

  finetune evaluate pairs.test.jsonl --model runs/first --out evaluations/first
  finetune evaluate pairs.test.jsonl --among more.jsonl --reverse
  finetune evaluate ~/sets/cirr --benchmark cirr --model royokong/e5-v
  finetune evaluate ~/sets/MMEB-eval --benchmark mmeb --limit 2000 --json
"""
COMPARE_EXAMPLES = """
Examples:

  finetune compare starter runs/first pairs.test.jsonl --out comparisons/first
  finetune compare evaluations/starter evaluations/first --out comparisons/first
  finetune compare starter runs/first ~/sets/xm3600 --benchmark xm3600 --limit 5000
"""

Bench = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="PATH is a published set: mmeb, xtd, xm3600, flickr30k, coco, flickr30k-drawn, "
        "coco-drawn, cirr, cirr-subset, fashioniq, sts.",
    ),
]
Among = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="More pairs, whose both sides are looked through as well."),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Ask each pair the other way round too.")]
Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="So many of the questions, drawn at random."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the draw that --limit makes.")]
Images = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the pictures are, if elsewhere.")
]
Font = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The font that captions are drawn in.",
        show_default="Arial, or Liberation Sans",
    ),
]
Plain = Annotated[
    bool, typer.Option("--plain", help="Leave instructions out, for a model that follows none.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(epilog=EVALUATE_EXAMPLES)
def evaluate(
    path: Annotated[
        Path, typer.Argument(help="A file of pairs, or a published set's folder.", metavar="PATH")
    ],
    model: options.Model = DEFAULT_MODEL,
    benchmark: Bench = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the report and all answers are written."),
    ] = None,
    among: Among = None,
    reverse: Reverse = False,
    limit: Limit = None,
    seed: Seed = 0,
    images: Images = None,
    font: Font = None,
    plain: Plain = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    dim: options.Dim = None,
    pixel_budget: options.PixelBudget = None,
    trust_remote_code: options.TrustRemoteCode = False,
    api_key: options.ApiKey = None,
    as_json: Json = False,
) -> None:
    """Measure how well a model finds what belongs together, per direction and language."""
    from embedder import describe, load
    from finetune.evaluation.asking import Asked, benchmark_of
    from finetune.evaluation.evaluating import evaluate as measure
    from finetune.evaluation.report import plain as told

    _only_for_pairs(benchmark, among, reverse)
    asked = Asked(path, benchmark, among, reverse, limit, seed, images, font, plain)
    settings = Settings(device, dtype, pixel_budget, dim, trust_remote_code, api_key=api_key)
    with _progress() as tell, _drawings(out) as drawn:
        questions = benchmark_of(asked, describe(model, settings).family, drawn)
        made = measure(load(model, settings), questions, out, tell)
    if as_json:
        write_json({**told(made), "out": str(out) if out else None})
        return
    _print_report(made)
    _say_where(out, "report.html")


@app.command(epilog=COMPARE_EXAMPLES)
def compare(
    before: Annotated[
        str, typer.Argument(help="A model, or an evaluation's folder.", metavar="BEFORE")
    ],
    after: Annotated[str, typer.Argument(help="Another, of the same kind.", metavar="AFTER")],
    path: Annotated[
        Path | None,
        typer.Argument(help="For models: what to measure, as in evaluate.", metavar="PATH"),
    ] = None,
    benchmark: Bench = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where both evaluations and the comparison go."),
    ] = None,
    among: Among = None,
    reverse: Reverse = False,
    limit: Limit = None,
    seed: Seed = 0,
    images: Images = None,
    font: Font = None,
    plain: Plain = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    trust_remote_code: options.TrustRemoteCode = False,
    api_key: options.ApiKey = None,
    as_json: Json = False,
) -> None:
    """Tell whether one model is better than another, beyond chance, on the same questions."""
    from finetune.evaluation.asking import Asked
    from finetune.evaluation.comparison import plain as told
    from finetune.evaluation.evaluating import compare as measure
    from finetune.evaluation.report import read_report

    _only_for_pairs(benchmark, among, reverse)
    if path is None and (benchmark or among or reverse or limit or plain):
        raise typer.BadParameter("PATH is missing: what shall the models be measured on?")
    if path is None:
        first, second = (read_report(Path(name).expanduser()) for name in (before, after))
    else:
        asked = Asked(path, benchmark, among, reverse, limit, seed, images, font, plain)
        settings = Settings(device, dtype, trust_remote_code=trust_remote_code, api_key=api_key)
        with _progress() as tell, _drawings(out) as drawn:
            first, second = (
                _measured(name, settings, asked, drawn, tell) for name in (before, after)
            )
    made = measure(first, second, out)
    if as_json:
        write_json({**told(made), "out": str(out) if out else None})
        return
    _print_comparison(made)
    _say_where(out, "comparison.html")


def _only_for_pairs(benchmark: str | None, among: Path | None, reverse: bool) -> None:
    if benchmark and (among or reverse):
        raise typer.BadParameter("--among and --reverse are for pairs; a published set is as it is")


def _measured(
    name: str, settings: Settings, asked: Asked, drawn: Path, tell: Callable[[str], None]
) -> Report:
    from embedder import describe, load
    from finetune.evaluation.asking import benchmark_of
    from finetune.evaluation.evaluating import evaluate as measure

    questions = benchmark_of(asked, describe(name, settings).family, drawn)
    model = load(name, settings)
    try:
        return measure(model, questions, None, tell)
    finally:  # copies on several devices would stay beside those of the next model
        getattr(model, "close", lambda: None)()


@contextmanager
def _drawings(out: Path | None) -> Iterator[Path]:
    """A folder for drawn captions; without --out it goes when the command ends."""
    if out is not None:
        yield out / "drawn"
        return
    with tempfile.TemporaryDirectory(prefix="polylens-drawn-") as folder:
        yield Path(folder)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Tells how far it is: on a terminal one line that changes, elsewhere a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True, highlight=False).status("reading") as status:
            yield lambda text: status.update(shown(text).replace("[", "\\["))
        return
    last = [time.monotonic()]

    def line(text: str) -> None:
        if time.monotonic() - last[0] >= EVERY:
            last[0] = time.monotonic()
            note(shown(text))

    yield line


def _print_report(made: Report) -> None:
    from embedder.tables import print_table
    from finetune.evaluation.report_page import figures, notes

    head, rows = figures(made)
    print_table(head, [[shown(cell) for cell in row] for row in rows])
    note(notes(made))


def _print_comparison(made: Comparison) -> None:
    from embedder.tables import print_table
    from finetune.evaluation.comparison_page import HEAD, by_groups, headline, rows

    print_table(HEAD, [[shown(cell) for cell in row] for row in rows(made)])
    print(shown(headline(made)))
    if by_groups(made):
        print(shown(by_groups(made)))


def _say_where(out: Path | None, name: str) -> None:
    if out is not None:
        note(f"written to {shown(str(out / name))}")
