"""`finetune compare`: whether one model is better than another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from embedder.cli import options
from embedder.cli.console import print_table, replace_unprintable, write_json
from embedder.types import Settings
from finetune.cli._options import Json, print_location, show_progress, takes_benchmark_flags
from finetune.cli.evaluate import drawn_captions_dir, evaluate_model

if TYPE_CHECKING:
    from finetune.evaluation.report import Comparison

app = typer.Typer()

EXAMPLES = """
Examples:

  finetune compare starter runs/first pairs.test.jsonl --out comparisons/first
  finetune compare evaluations/starter evaluations/first --out comparisons/first
  finetune compare starter runs/first ~/sets/xm3600 --benchmark xm3600 --limit 5000
"""


@app.command(epilog=EXAMPLES)
@options.takes_model_settings("device", "dtype", "trust_remote_code", "model_api_key")
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

    if path is None:
        needs_path = ("benchmark", "among", "reverse", "limit", "without_instructions")
        if any(benchmark_flags[name] for name in needs_path):
            raise typer.BadParameter("PATH is missing: what to evaluate the models on")
        first, second = (read_report(Path(name).expanduser()) for name in (before, after))
    else:
        with show_progress() as on_progress, drawn_captions_dir(out) as drawn_dir:
            first, second = (
                evaluate_model(
                    name, settings, path, benchmark_flags, drawn_dir, on_progress=on_progress
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

    rows = comparison_table(comparison)
    print_table(COMPARISON_HEAD, [[replace_unprintable(cell) for cell in row] for row in rows])
    print(replace_unprintable(comparison_headline(comparison)))
    if groups := describe_groups(comparison):
        print(replace_unprintable(groups))
