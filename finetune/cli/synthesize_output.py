"""What `synthesize` says before, during and after a run."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from embedder.cli.console import print_note, replace_unprintable, write_json
from embedder.cli.output import print_table

if TYPE_CHECKING:
    from finetune.synthesis.cost import CostEstimate
    from finetune.synthesis.journal import JobOutcome
    from finetune.synthesis.llm_factory import LLMOptions
    from finetune.synthesis.pipeline import SynthesisOptions, SynthesisSession
    from finetune.synthesis.report import SynthesisReport

PROGRESS_INTERVAL = 10.0  # seconds between two lines of progress
MAX_JOBS_SHOWN = 8  # jobs of a plan
STATUS_ADVICE = {
    "incomplete": "type the command again to ask for the rest",
    "interrupted": "stopped; type the command again to go on",
    "budget": "the budget is spent; raise --budget to go on",
}


def print_plan(session: SynthesisSession, as_json: bool) -> None:
    """What it would cost, the first jobs, and the whole prompt of the next."""
    cost = session.estimate_remaining()
    rows = [
        {"job": str(job.number), "task": job.combination.task, "kind": job.combination.name}
        | {"language": job.language.code, "picture": session.images.display_path(job.anchor_id)}
        for job in session.pending_jobs[:MAX_JOBS_SHOWN]
    ]
    prompt = session.prompts.build_request(session.pending_jobs[0]) if session.pending_jobs else ""
    if as_json:
        estimate_json = asdict(cost) | {"cost": _total_cost(session, cost)}
        write_json(
            {
                "estimate": estimate_json,
                "jobs": rows,
                "system": session.prompts.system,
                "prompt": prompt,
            }
        )
        return
    print(_describe_cost(session, cost))
    print_table(("job", "task", "kind", "language", "picture"), [tuple(r.values()) for r in rows])
    print(f"\n--- system\n{session.prompts.system}\n\n--- the first request\n{prompt}")


def confirm_cost(session: SynthesisSession, yes: bool) -> None:
    """Tell the cost; where it is above the budget, ask, or refuse where nobody can answer."""
    from finetune.errors import FinetuneError

    cost, budget = session.estimate_remaining(), session.options.budget
    if not cost.jobs:
        print_note("every job of this plan is done")
        return
    print_note(_describe_cost(session, cost))
    total = (_total_cost(session, cost) or 0.0) + session.cost_so_far
    if budget is None or total <= budget or yes:
        return
    message = f"all would cost about {total:.2f}, which is above the budget of {budget:.2f}"
    if sys.stdin.isatty() and typer.confirm(f"{message}. Begin, and stop there?", err=True):
        return
    raise FinetuneError(
        f"{message}; nothing was sent. Ask for less with --count, or type --yes to stop at the budget"
    )


def _describe_cost(session: SynthesisSession, cost: CostEstimate) -> str:
    total = _total_cost(session, cost)
    basis = "measured on the answers so far" if cost.measured else "before anything is measured"
    return (
        f"{_count_samples(cost.jobs)}: about {cost.tokens_in:,} tokens read, {cost.tokens_out:,} written"
        + (f", {total:.2f} in all" if total is not None else "")
        + f" ({basis})"
    )


def _total_cost(session: SynthesisSession, cost: CostEstimate) -> float | None:
    prices = session.options.prices
    return cost.compute_cost(prices) if prices.is_complete else None


def print_destination(llm_options: LLMOptions) -> None:
    from finetune.synthesis.llm_factory import describe_destination

    destination_text, warning = describe_destination(llm_options)
    print_note(destination_text)
    if warning:
        print_note(f"warning: {warning}")


class ProgressPrinter:
    """A line of progress now and then, and the cost once it can be measured."""

    def __init__(self, session: SynthesisSession) -> None:
        self._session, self._last_printed = session, time.monotonic()
        self._measured = not session.pending_jobs or session.estimate_remaining().measured

    def __call__(self, outcome: JobOutcome) -> None:
        if not self._measured and (cost := self._session.estimate_remaining()).measured:
            self._measured = True
            print_note(f"still to be done: {_describe_cost(self._session, cost)}")
        if time.monotonic() - self._last_printed >= PROGRESS_INTERVAL:
            self._last_printed = time.monotonic()
            outcomes = self._session.outcomes.values()
            kept = sum(finished.sample is not None for finished in outcomes)
            print_note(f"{len(outcomes)} of {len(self._session.jobs)} done, {kept} kept")


def print_report(
    report: SynthesisReport, synthesis_options: SynthesisOptions, as_json: bool
) -> None:
    if as_json:
        write_json(report.to_dict | {"out": str(synthesis_options.out)})
        return
    print(
        f"{report.written} pairs in {replace_unprintable(str(synthesis_options.out))}, of {_count_samples(report.done)} asked for"
    )
    for reason, number in report.rejected.items():
        print(f"  {number} rejected: {reason}")
    if report.cost is not None:
        print(f"cost: {report.cost:.2f}")
    for error, number in report.lost.items():
        print_note(f"{number} lost: {replace_unprintable(error)}")
    if report.status in STATUS_ADVICE:
        print_note(
            f"{STATUS_ADVICE[report.status]}; to be asked for: {_count_samples(report.planned - report.done)}"
        )


def _count_samples(count: int) -> str:
    return f"{count:,} sample{'s' * (count != 1)}"
