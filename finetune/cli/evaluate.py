"""`finetune evaluate`: how well a model finds what belongs together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli import options
from embedder.cli.console import print_note, print_table, replace_unprintable, write_json
from embedder.families.registry import DEFAULT_MODEL
from embedder.types import Settings
from finetune.cli._options import Json, print_location, show_progress, takes_benchmark_flags

if TYPE_CHECKING:
    from finetune.evaluation.report import EvaluationReport

app = typer.Typer()

EXAMPLES = """
Examples:

  finetune evaluate pairs.test.jsonl --model runs/first --out evaluations/first
  finetune evaluate pairs.test.jsonl --among more.jsonl --reverse
  finetune evaluate ~/sets/cirr --benchmark cirr --model royokong/e5-v
  finetune evaluate ~/sets/MMEB-eval --benchmark mmeb --limit 2000 --json
"""


@app.command(epilog=EXAMPLES)
@options.takes_model_settings()
@takes_benchmark_flags
def evaluate(
    settings: Settings,
    benchmark_flags: dict[str, Any],
    path: Annotated[Path, Argument(help="A file of pairs, or a published dataset's folder.")],
    model: options.Model = DEFAULT_MODEL,
    out: Annotated[
        Path | None, Option(metavar="FOLDER", help="Where to write the report and results.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how well a model finds what belongs together, by direction and language."""
    from finetune.evaluation.report import report_to_dict

    with show_progress() as on_progress, drawn_captions_dir(out) as drawn_dir:
        report = evaluate_model(
            model, settings, path, benchmark_flags, drawn_dir, out=out, on_progress=on_progress
        )
    if as_json:
        write_json({**report_to_dict(report), "out": str(out) if out else None})
        return
    _print_report(report)
    print_location(out, "report.html")


def evaluate_model(
    name: str,
    settings: Settings,
    path: Path,
    benchmark_flags: dict[str, Any],
    drawn_dir: Path,
    *,
    out: Path | None = None,
    on_progress: Callable[[str], None],
) -> EvaluationReport:
    """Evaluate model `name` on the benchmark that the flags describe."""
    from embedder import describe_model, load
    from finetune.evaluation.evaluate import build_benchmark
    from finetune.evaluation.evaluate import evaluate as run_evaluation

    family = describe_model(name, settings).family
    benchmark = build_benchmark(path, family, drawn_dir, **benchmark_flags)
    model = load(name, settings)
    try:
        return run_evaluation(model, benchmark, out, on_progress)
    finally:  # copies on several devices would stay beside those of the next model
        getattr(model, "close", lambda: None)()


@contextmanager
def drawn_captions_dir(out: Path | None) -> Iterator[Path]:
    """Give the folder for drawn captions; without --out it is temporary."""
    if out is not None:
        yield out / "drawn"
        return
    with tempfile.TemporaryDirectory(prefix="polylens-drawn-") as folder:
        yield Path(folder)


def _print_report(report: EvaluationReport) -> None:
    from finetune.evaluation.render import metric_table, report_note

    head, rows = metric_table(report)
    print_table(head, [[replace_unprintable(cell) for cell in row] for row in rows])
    print_note(report_note(report))
