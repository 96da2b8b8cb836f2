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

from embedder.cli import options
from embedder.cli.console import print_note, replace_unprintable, write_json
from embedder.families.registry import DEFAULT_MODEL
from embedder.types import Settings

if TYPE_CHECKING:
    from finetune.evaluation.evaluate import BenchmarkRequest
    from finetune.evaluation.report import Comparison, EvaluationReport

app = typer.Typer()

PROGRESS_INTERVAL = 10.0  # seconds between two lines of progress off a terminal

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

BenchmarkName = Annotated[
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
@options.takes_model_settings()
def evaluate(
    settings: Settings,
    path: Annotated[
        Path, typer.Argument(help="A file of pairs, or a published set's folder.", metavar="PATH")
    ],
    model: options.Model = DEFAULT_MODEL,
    benchmark: BenchmarkName = None,
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
    as_json: Json = False,
) -> None:
    """Measure how well a model finds what belongs together, per direction and language."""
    from embedder import describe_model, load
    from finetune.evaluation.evaluate import BenchmarkRequest, build_benchmark
    from finetune.evaluation.evaluate import evaluate as measure
    from finetune.evaluation.report import report_to_dict as told

    _check_pair_options(benchmark, among, reverse)
    request = BenchmarkRequest(
        path=path,
        benchmark=benchmark,
        among=among,
        reverse=reverse,
        limit=limit,
        seed=seed,
        images=images,
        font=font,
        without_instructions=plain,
    )
    with _show_progress() as on_progress, _drawn_captions_dir(out) as drawn_dir:
        benchmark_questions = build_benchmark(
            request, describe_model(model, settings).family, drawn_dir
        )
        report = measure(load(model, settings), benchmark_questions, out, on_progress)
    if as_json:
        write_json({**told(report), "out": str(out) if out else None})
        return
    _print_report(report)
    _print_location(out, "report.html")


@app.command(epilog=COMPARE_EXAMPLES)
@options.takes_model_settings("device", "dtype", "trust_remote_code", "model_api_key")
def compare(
    settings: Settings,
    before: Annotated[
        str, typer.Argument(help="A model, or an evaluation's folder.", metavar="BEFORE")
    ],
    after: Annotated[str, typer.Argument(help="Another, of the same kind.", metavar="AFTER")],
    path: Annotated[
        Path | None,
        typer.Argument(help="For models: what to measure, as in evaluate.", metavar="PATH"),
    ] = None,
    benchmark: BenchmarkName = None,
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
    as_json: Json = False,
) -> None:
    """Tell whether one model is better than another, beyond chance, on the same questions."""
    from finetune.evaluation.evaluate import BenchmarkRequest
    from finetune.evaluation.evaluate import compare as measure
    from finetune.evaluation.report import comparison_to_dict as told
    from finetune.evaluation.report import read_report

    _check_pair_options(benchmark, among, reverse)
    if path is None and (benchmark or among or reverse or limit or plain):
        raise typer.BadParameter("PATH is missing: what shall the models be measured on?")
    if path is None:
        first, second = (read_report(Path(name).expanduser()) for name in (before, after))
    else:
        request = BenchmarkRequest(
            path=path,
            benchmark=benchmark,
            among=among,
            reverse=reverse,
            limit=limit,
            seed=seed,
            images=images,
            font=font,
            without_instructions=plain,
        )
        with _show_progress() as on_progress, _drawn_captions_dir(out) as drawn_dir:
            first, second = (
                _evaluate_model(name, settings, request, drawn_dir, on_progress)
                for name in (before, after)
            )
    comparison = measure(first, second, out)
    if as_json:
        write_json({**told(comparison), "out": str(out) if out else None})
        return
    _print_comparison(comparison)
    _print_location(out, "comparison.html")


def _check_pair_options(benchmark: str | None, among: Path | None, reverse: bool) -> None:
    if benchmark and (among or reverse):
        raise typer.BadParameter("--among and --reverse are for pairs; a published set is as it is")


def _evaluate_model(
    name: str,
    settings: Settings,
    request: BenchmarkRequest,
    drawn_dir: Path,
    on_progress: Callable[[str], None],
) -> EvaluationReport:
    from embedder import describe_model, load
    from finetune.evaluation.evaluate import build_benchmark
    from finetune.evaluation.evaluate import evaluate as measure

    questions = build_benchmark(request, describe_model(name, settings).family, drawn_dir)
    model = load(name, settings)
    try:
        return measure(model, questions, None, on_progress)
    finally:  # copies on several devices would stay beside those of the next model
        getattr(model, "close", lambda: None)()


@contextmanager
def _drawn_captions_dir(out: Path | None) -> Iterator[Path]:
    """A folder for drawn captions; without --out it goes when the command ends."""
    if out is not None:
        yield out / "drawn"
        return
    with tempfile.TemporaryDirectory(prefix="polylens-drawn-") as folder:
        yield Path(folder)


@contextmanager
def _show_progress() -> Iterator[Callable[[str], None]]:
    """Tells how far it is: on a terminal one line that changes, elsewhere a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True, highlight=False).status("reading") as status:
            yield lambda text: status.update(replace_unprintable(text).replace("[", "\\["))
        return
    last = [time.monotonic()]

    def print_line(text: str) -> None:
        if time.monotonic() - last[0] >= PROGRESS_INTERVAL:
            last[0] = time.monotonic()
            print_note(replace_unprintable(text))

    yield print_line


def _print_report(report: EvaluationReport) -> None:
    from embedder.cli.output import print_table
    from finetune.evaluation.render import metric_table, report_note

    head, rows = metric_table(report)
    print_table(head, [[replace_unprintable(cell) for cell in row] for row in rows])
    print_note(report_note(report))


def _print_comparison(comparison: Comparison) -> None:
    from embedder.cli.output import print_table
    from finetune.evaluation.render import (
        COMPARISON_HEAD,
        comparison_headline,
        comparison_table,
        describe_groups,
    )

    rows = comparison_table(comparison)
    print_table(COMPARISON_HEAD, [[replace_unprintable(cell) for cell in row] for row in rows])
    print(replace_unprintable(comparison_headline(comparison)))
    if describe_groups(comparison):
        print(replace_unprintable(describe_groups(comparison)))


def _print_location(out: Path | None, file_name: str) -> None:
    if out is not None:
        print_note(f"written to {replace_unprintable(str(out / file_name))}")
