"""What `synthesize` says before, during and after a run."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from embedder.console import note, shown, write_json
from embedder.tables import print_table

if TYPE_CHECKING:
    from finetune.synthesis.costs import Estimate
    from finetune.synthesis.journal import Outcome
    from finetune.synthesis.opening import Choice
    from finetune.synthesis.reports import Report
    from finetune.synthesis.session import Session, Terms

EVERY = 10.0  # seconds between two lines of progress
SHOWN = 8  # jobs of a plan
REST = {
    "incomplete": "type the command again to ask for the rest",
    "interrupted": "stopped; type the command again to go on",
    "budget": "the budget is spent; raise --budget to go on",
}


def show_plan(opened: Session, as_json: bool) -> None:
    """What it would cost, the first jobs, and the whole prompt of the next."""
    cost = opened.estimate()
    rows = [
        {"job": str(job.number), "task": job.combination.task, "kind": job.combination.name}
        | {"language": job.language.code, "picture": opened.gallery.path(job.drawn)}
        for job in opened.todo[:SHOWN]
    ]
    prompt = opened.prompts.request(opened.todo[0]) if opened.todo else ""
    if as_json:
        plain = asdict(cost) | {"cost": _money(opened, cost)}
        write_json(
            {"estimate": plain, "jobs": rows, "system": opened.prompts.system, "prompt": prompt}
        )
        return
    print(_cost(opened, cost))
    print_table(("job", "task", "kind", "language", "picture"), [tuple(r.values()) for r in rows])
    print(f"\n--- system\n{opened.prompts.system}\n\n--- the first request\n{prompt}")


def agree(opened: Session, yes: bool) -> None:
    """Tell the cost; where it is above the budget, ask, or refuse where nobody can answer."""
    from finetune.errors import FinetuneError

    cost, budget = opened.estimate(), opened.terms.budget
    if not cost.jobs:
        note("every job of this plan is done")
        return
    note(_cost(opened, cost))
    whole = (_money(opened, cost) or 0.0) + opened.spent
    if budget is None or whole <= budget or yes:
        return
    above = f"all would cost about {whole:.2f}, which is above the budget of {budget:.2f}"
    if sys.stdin.isatty() and typer.confirm(f"{above}. Begin, and stop there?", err=True):
        return
    raise FinetuneError(
        f"{above}; nothing was sent. Ask for less with --count, or type --yes to stop at the budget"
    )


def _cost(opened: Session, cost: Estimate) -> str:
    money = _money(opened, cost)
    how = "measured on the answers so far" if cost.measured else "before anything is measured"
    return (
        f"{_samples(cost.jobs)}: about {cost.tokens_in:,} tokens read, {cost.tokens_out:,} written"
        + (f", {money:.2f} in all" if money is not None else "")
        + f" ({how})"
    )


def _money(opened: Session, cost: Estimate) -> float | None:
    prices = opened.terms.prices
    return cost.cost(prices) if prices.known else None


def tell_where(choice: Choice) -> None:
    from finetune.synthesis.opening import destination

    where, warning = destination(choice)
    note(where)
    if warning:
        note(f"warning: {warning}")


class Told:
    """A line of progress now and then, and the cost once it can be measured."""

    def __init__(self, opened: Session) -> None:
        self._opened, self._last = opened, time.monotonic()
        self._measured = not opened.todo or opened.estimate().measured

    def __call__(self, outcome: Outcome) -> None:
        if not self._measured and (cost := self._opened.estimate()).measured:
            self._measured = True
            note(f"still to be done: {_cost(self._opened, cost)}")
        if time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            done = self._opened.done.values()
            kept = sum(one.sample is not None for one in done)
            note(f"{len(done)} of {len(self._opened.jobs)} done, {kept} kept")


def tell(report: Report, terms: Terms, as_json: bool) -> None:
    if as_json:
        write_json(report.plain | {"out": str(terms.out)})
        return
    print(
        f"{report.written} pairs in {shown(str(terms.out))}, of {_samples(report.done)} asked for"
    )
    for reason, number in report.rejected.items():
        print(f"  {number} rejected: {reason}")
    if report.cost is not None:
        print(f"cost: {report.cost:.2f}")
    for why, number in report.lost.items():
        note(f"{number} lost: {shown(why)}")
    if report.status in REST:
        note(f"{REST[report.status]}; to be asked for: {_samples(report.planned - report.done)}")


def _samples(count: int) -> str:
    return f"{count:,} sample{'s' * (count != 1)}"
