"""Evaluates a model on a benchmark, and compares two."""

from __future__ import annotations

from pathlib import Path

from embedder.types import Embedder
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.comparison import Comparison, compare_reports, write_comparison
from finetune.evaluation.embedding import Progress
from finetune.evaluation.query_results import run_queries
from finetune.evaluation.report import EvaluationReport, build_report, write_report

BEFORE, AFTER = "before", "after"


def evaluate(
    embedder: Embedder,
    benchmark: Benchmark,
    out: Path | None = None,
    progress: Progress = lambda _: None,
) -> EvaluationReport:
    """Measure `embedder`, and write the folder `out` if given. `tell` hears how far it is.

    Raises `FinetuneError`, `EmbedderError`, `OSError`.
    """
    benchmark.validate()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    made = build_report(embedder.card, benchmark, run_queries(embedder, benchmark, progress))
    if out is not None:
        write_report(made, out)
    return made


def compare(
    before: EvaluationReport, after: EvaluationReport, out: Path | None = None
) -> Comparison:
    """Compare two evaluations of one benchmark; write both and the comparison into `out`.

    Raises `FinetuneError` where they do not ask the same, `OSError`.
    """
    made = compare_reports(before, after)
    if out is not None:
        write_report(before, out / BEFORE)
        write_report(after, out / AFTER)
        write_comparison(made, out)
    return made
