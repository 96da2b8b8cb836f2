"""Evaluates a model on a benchmark, and compares two."""

from __future__ import annotations

from pathlib import Path

from embedder.types import Embedder
from finetune.evaluation.answers import answers
from finetune.evaluation.benchmark import Benchmark
from finetune.evaluation.comparison import Comparison, comparison, write_comparison
from finetune.evaluation.embedding import Tell
from finetune.evaluation.report import Report, report, write_report

BEFORE, AFTER = "before", "after"


def evaluate(
    embedder: Embedder, benchmark: Benchmark, out: Path | None = None, tell: Tell = lambda _: None
) -> Report:
    """Measure `embedder`, and write the folder `out` if given. `tell` hears how far it is.

    Raises `FinetuneError`, `EmbedderError`, `OSError`.
    """
    benchmark.check()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    made = report(embedder.card, benchmark, answers(embedder, benchmark, tell))
    if out is not None:
        write_report(made, out)
    return made


def compare(before: Report, after: Report, out: Path | None = None) -> Comparison:
    """Compare two evaluations of one benchmark; write both and the comparison into `out`.

    Raises `FinetuneError` where they do not ask the same, `OSError`.
    """
    made = comparison(before, after)
    if out is not None:
        write_report(before, out / BEFORE)
        write_report(after, out / AFTER)
        write_comparison(made, out)
    return made
