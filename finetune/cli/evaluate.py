"""`finetune evaluate` and `compare`: how well models find what belongs together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli.console import (
    Json,
    Model,
    print_line,
    print_note,
    print_table,
    takes_model_settings,
    write_json,
)
from embedder.families.registry import DEFAULT_MODEL
from embedder.types import Settings
from finetune.cli._options import (
    CIRR_TEST,
    print_location,
    show_progress,
    takes_benchmark_flags,
)

if TYPE_CHECKING:
    from finetune.evaluation.report import Comparison, EvaluationReport

app = typer.Typer()

EVALUATE_EXAMPLES = """
Examples:

  finetune evaluate pairs.test.jsonl --model runs/first --out evaluations/first
  finetune evaluate pairs.test.jsonl --among more.jsonl --reverse
  finetune evaluate ~/sets/cirr --benchmark cirr --model royokong/e5-v
  finetune evaluate ~/sets/MMEB-eval --benchmark mmeb --limit 2000 --json
  finetune evaluate ~/sets --benchmark mteb:XM3600T2IRetrieval --model siglip2
"""
COMPARE_EXAMPLES = """
Examples:

  finetune compare starter runs/first pairs.test.jsonl --out comparisons/first
  finetune compare evaluations/starter evaluations/first --out comparisons/first
  finetune compare starter runs/first ~/sets/xm3600 --benchmark xm3600 --limit 5000
"""


@app.command(epilog=EVALUATE_EXAMPLES)
@takes_model_settings()
@takes_benchmark_flags
def evaluate(
    settings: Settings,
    benchmark_flags: dict[str, Any],
    path: Annotated[Path, Argument(help="A file of pairs, or a published dataset's folder.")],
    model: Model = DEFAULT_MODEL,
    out: Annotated[
        Path | None, Option(metavar="FOLDER", help="Where to write the report and results.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how well a model finds what belongs together, by direction and language."""
    from finetune.evaluation.report import report_to_dict

    if benchmark_flags["benchmark"] == CIRR_TEST:
        _write_cirr_submission(model, settings, path, benchmark_flags, out, as_json=as_json)
        return
    with show_progress() as on_progress, extracted_images_dir(out) as extracted_dir:
        report = evaluate_model(
            model, settings, path, benchmark_flags, extracted_dir, out=out, on_progress=on_progress
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
    extracted_dir: Path,
    *,
    out: Path | None = None,
    on_progress: Callable[[str], None],
) -> EvaluationReport:
    """Evaluate model `name` on the benchmark that the flags describe."""
    from embedder import describe_model, load
    from finetune.evaluation.benchmarks import MTEB_PREFIX
    from finetune.evaluation.evaluate import build_benchmark
    from finetune.evaluation.evaluate import evaluate as run_evaluation
    from finetune.evaluation.mteb_tasks import evaluate_tasks

    task = benchmark_flags["benchmark"] or ""
    is_mteb = task.startswith(MTEB_PREFIX)
    if not is_mteb:
        family = describe_model(name, settings).family
        benchmark = build_benchmark(path, family, extracted_dir, **benchmark_flags)
    model = load(name, settings)
    try:
        if not is_mteb:
            return run_evaluation(model, benchmark, out, on_progress)
        return evaluate_tasks(
            model,
            task.removeprefix(MTEB_PREFIX),
            Path(os.path.expanduser(path)),
            out,
            on_progress,
            without_instructions=benchmark_flags["without_instructions"],
        )
    finally:  # copies on several devices would stay beside those of the next model
        getattr(model, "close", lambda: None)()


def _write_cirr_submission(
    name: str,
    settings: Settings,
    path: Path,
    benchmark_flags: dict[str, Any],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write the files for CIRR's test server, which alone knows the targets of the test split."""
    from embedder import describe_model, load
    from finetune.evaluation.cirr_submission import SERVER_URL, write_submission
    from finetune.evaluation.evaluate import build_benchmark

    if out is None:
        raise typer.BadParameter("cirr-test writes the files for CIRR's test server: name --out")
    with show_progress() as on_progress:
        family = describe_model(name, settings).family
        benchmark = build_benchmark(path, family, out / "images", **benchmark_flags)
        model = load(name, settings)
        try:
            files = write_submission(model, benchmark, out, on_progress)
        finally:
            getattr(model, "close", lambda: None)()
    if as_json:
        write_json({"files": [str(file) for file in files]})
        return
    for file in files:
        print_line(str(file))
    print_note(f"upload them to {SERVER_URL}, which has the metrics")


@contextmanager
def extracted_images_dir(out: Path | None) -> Iterator[Path]:
    """Give the folder for drawn captions and images of tables; without --out it is temporary."""
    if out is not None:
        yield out / "images"
        return
    with tempfile.TemporaryDirectory(prefix="polylens-images-") as folder:
        yield Path(folder)


def _print_report(report: EvaluationReport) -> None:
    from finetune.evaluation.render import metric_table, report_note

    head, rows = metric_table(report)
    print_table(head, rows)
    print_note(report_note(report))


@app.command(epilog=COMPARE_EXAMPLES)
@takes_model_settings("device", "dtype", "trust_remote_code", "model_api_key", "model_api_key_url")
@takes_benchmark_flags
def compare(
    settings: Settings,
    benchmark_flags: dict[str, Any],
    before: Annotated[str, Argument(help="A model, or an evaluation's folder.", metavar="BEFORE")],
    after: Annotated[str, Argument(help="Another of the same kind.", metavar="AFTER")],
    path: Annotated[
        Path | None, Argument(help="For models: what to evaluate them on.", metavar="PATH")
    ] = None,
    out: Annotated[
        Path | None,
        Option(metavar="FOLDER", help="Where to write the comparison and both evaluations."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Test whether one model is significantly better than another on the same queries."""
    from finetune.evaluation.evaluate import compare as compare_reports
    from finetune.evaluation.report import comparison_to_dict, read_report

    if (benchmark_flags["benchmark"] or "").startswith("mteb:"):
        raise typer.BadParameter(
            "mteb gives no results of single queries, which a test needs: evaluate both models"
        )
    if benchmark_flags["benchmark"] == CIRR_TEST:
        raise typer.BadParameter("CIRR's test split has no targets: compare on --benchmark cirr")
    if path is None:
        needs_path = ("benchmark", "among", "reverse", "limit", "without_instructions")
        if any(benchmark_flags[name] for name in needs_path):
            raise typer.BadParameter("PATH is missing: what to evaluate the models on")
        first, second = (read_report(Path(os.path.expanduser(name))) for name in (before, after))
    else:
        with show_progress() as on_progress, extracted_images_dir(out) as extracted_dir:
            first, second = (
                evaluate_model(
                    name, settings, path, benchmark_flags, extracted_dir, on_progress=on_progress
                )
                for name in (before, after)
            )
    comparison = compare_reports(first, second, out)
    if as_json:
        write_json({**comparison_to_dict(comparison), "out": str(out) if out else None})
        return
    _print_comparison(comparison)
    print_location(out, "comparison.html")


def _print_comparison(comparison: Comparison) -> None:
    from finetune.evaluation.render import (
        COMPARISON_HEAD,
        comparison_headline,
        comparison_table,
        describe_groups,
    )

    print_table(COMPARISON_HEAD, comparison_table(comparison))
    print_line(comparison_headline(comparison))
    if groups := describe_groups(comparison):
        print_line(groups)
