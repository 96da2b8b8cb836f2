"""What a run needs, opened together: the collection, the plan, the prompts and the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.data.files import write_pairs
from finetune.errors import FinetuneError
from finetune.synthesis.agreement import agreeing
from finetune.synthesis.costs import Estimate, Prices, estimate, spent
from finetune.synthesis.gallery import Gallery
from finetune.synthesis.journal import Journal, Outcome
from finetune.synthesis.make import Maker
from finetune.synthesis.plan import Job, Plan
from finetune.synthesis.prompts import Prompts, read_prompts
from finetune.synthesis.reports import Report, report
from finetune.synthesis.run import Budget, Run
from finetune.synthesis.writers import Writer
from indexer.collection import Collection
from indexer.models import load_model

if TYPE_CHECKING:
    from embedder import Embedder
    from indexer.config import Config


@dataclass(frozen=True, slots=True)
class Terms:
    """What was asked for. `side`: the longer side of the pictures shown, in pixels; `floor`: of
    agreement, None to keep all."""

    out: Path
    count: int
    tasks: Mapping[str, float]
    languages: Mapping[str, float]
    seed: int = 0
    prompts: Path | None = None
    side: int = 768
    parallel: int = 4
    floor: float | None = 0.5
    prices: Prices = field(default_factory=Prices)
    budget: float | None = None

    @property
    def journal(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.journal.jsonl")

    @property
    def report(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.report.json")


@dataclass(slots=True)
class Session:
    """One run over one collection. `model` loads the collection's embedder."""

    terms: Terms
    gallery: Gallery
    model: Callable[[], Embedder]
    prompts: Prompts
    plan: Plan
    jobs: list[Job]
    journal: Journal | None

    @property
    def done(self) -> Mapping[int, Outcome]:
        return self.journal.outcomes if self.journal else {}

    @property
    def todo(self) -> list[Job]:
        return [job for job in self.jobs if job.number not in self.done]

    @property
    def spent(self) -> float:
        """What all that is done has cost."""
        return spent(self.done.values(), self.terms.prices)

    def estimate(self) -> Estimate:
        """Of what is still to be done."""
        return estimate(self.todo, self.prompts, self.terms.side, self.done.values())

    def work(
        self,
        writer: Writer | None,
        stop: threading.Event,
        told: Callable[[Outcome], None] = lambda _: None,
    ) -> Report:
        """Do what is to be done, then write the pairs and the report, of everything so far in any
        case. Raises `WriterError`, `LostError`, and what reading the collection raises."""
        run = self._run(writer, stop)
        try:
            for outcome in run(self.jobs) if run else ():
                told(outcome)
        except FinetuneError:
            self._finish("failed", writer, run)
            raise
        return self._finish(self._status(run, stop), writer, run)

    def _run(self, writer: Writer | None, stop: threading.Event) -> Run | None:
        if writer is None or self.journal is None:
            return None
        terms = self.terms
        make = Maker(self.gallery, self.prompts, writer, terms.side)
        return Run(self.journal, make, Budget(terms.budget, terms.prices), terms.parallel, stop)

    def _status(self, run: Run | None, stop: threading.Event) -> str:
        if not self.todo:
            return "complete"
        if run is not None and run.over_budget:
            return "budget"
        return "interrupted" if stop.is_set() else "incomplete"

    def _finish(self, status: str, writer: Writer | None, run: Run | None) -> Report:
        if writer is not None:
            writer.close()
        outcomes = [self.done[number] for number in sorted(self.done)]
        agreed = [outcome for outcome in outcomes if outcome.sample is not None]
        if self.terms.floor is not None and agreed:
            agreed = agreeing(outcomes, self.gallery, self.model(), self.terms.floor)
        write_pairs(self.terms.out, (o.sample.pair for o in agreed if o.sample is not None))
        found = report(
            outcomes,
            agreed,
            status=status,
            plan=self.plan.fingerprint,
            planned=max(len(self.jobs), len(outcomes)),
            lost=run.lost if run else (),
            prices=self.terms.prices,
        )
        found.write(self.terms.report)
        return found


@contextmanager
def session(config: Config, terms: Terms, *, look_only: bool = False) -> Iterator[Session]:
    """Opens everything; nothing is written where one will `look_only`. Raises `CollectionError`,
    `FinetuneError`, `DataError`."""
    if terms.out.exists() and not terms.journal.exists():
        raise FinetuneError(
            f"{terms.out} is there already, and no journal of it: name another file with --out"
        )
    prompts = read_prompts(terms.prompts)
    with Collection.open(config) as collection, ExitStack() as stack:
        gallery = Gallery.of(collection.store, config.collection)
        basis = f"{prompts.digest} {collection.card.fingerprint}"
        plan = Plan(gallery.ids, terms.tasks, terms.languages, terms.seed, basis)
        jobs = list(plan.jobs(terms.count))
        journal = None
        if not look_only or terms.journal.exists():
            journal = stack.enter_context(Journal(terms.journal, plan.fingerprint))
        card = collection.card
        yield Session(
            terms, gallery, lambda: load_model(config, card), prompts, plan, jobs, journal
        )
