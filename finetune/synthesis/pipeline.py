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
from finetune.synthesis.agreement import filter_by_agreement
from finetune.synthesis.cost import CostEstimate, Prices, estimate_cost, total_cost
from finetune.synthesis.images import CollectionImages
from finetune.synthesis.journal import JobOutcome, Journal
from finetune.synthesis.llm import LanguageModel
from finetune.synthesis.plan import SampleJob, SynthesisPlan
from finetune.synthesis.prompt_templates import PromptTemplates, load_prompts
from finetune.synthesis.report import SynthesisReport, build_report
from finetune.synthesis.runner import Budget, SynthesisRunner
from finetune.synthesis.sample_generator import SampleGenerator
from indexer.collections.collection import OpenCollection
from indexer.collections.model import load_model

if TYPE_CHECKING:
    from embedder import Embedder
    from indexer.config import Config


@dataclass(frozen=True, slots=True)
class SynthesisOptions:
    """What was asked for. `side`: the longer side of the pictures shown, in pixels; `floor`: of
    agreement, None to keep all."""

    out: Path
    count: int
    tasks: Mapping[str, float]
    languages: Mapping[str, float]
    seed: int = 0
    prompts: Path | None = None
    image_side: int = 768
    parallel: int = 4
    min_agreement: float | None = 0.5
    prices: Prices = field(default_factory=Prices)
    budget: float | None = None

    @property
    def journal_path(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.journal.jsonl")

    @property
    def report_path(self) -> Path:
        return self.out.with_name(f"{self.out.stem}.report.json")


@dataclass(slots=True)
class SynthesisSession:
    """One run over one collection. `model` loads the collection's embedder."""

    options: SynthesisOptions
    images: CollectionImages
    load_embedder: Callable[[], Embedder]
    prompts: PromptTemplates
    plan: SynthesisPlan
    jobs: list[SampleJob]
    journal: Journal | None

    @property
    def outcomes(self) -> Mapping[int, JobOutcome]:
        return self.journal.outcomes if self.journal else {}

    @property
    def pending_jobs(self) -> list[SampleJob]:
        return [job for job in self.jobs if job.number not in self.outcomes]

    @property
    def cost_so_far(self) -> float:
        """What all that is done has cost."""
        return total_cost(self.outcomes.values(), self.options.prices)

    def estimate_remaining(self) -> CostEstimate:
        """Of what is still to be done."""
        return estimate_cost(
            self.pending_jobs, self.prompts, self.options.image_side, self.outcomes.values()
        )

    def run(
        self,
        llm: LanguageModel | None,
        stop: threading.Event,
        on_outcome: Callable[[JobOutcome], None] = lambda _: None,
    ) -> SynthesisReport:
        """Do what is to be done, then write the pairs and the report, of everything so far in any
        case. Raises `WriterError`, `LostError`, and what reading the collection raises."""
        runner = self._make_runner(llm, stop)
        try:
            for outcome in runner(self.jobs) if runner else ():
                on_outcome(outcome)
        except FinetuneError:
            self._write_results("failed", llm, runner)
            raise
        return self._write_results(self._end_status(runner, stop), llm, runner)

    def _make_runner(
        self, llm: LanguageModel | None, stop: threading.Event
    ) -> SynthesisRunner | None:
        if llm is None or self.journal is None:
            return None
        options = self.options
        generate = SampleGenerator(self.images, self.prompts, llm, options.image_side)
        return SynthesisRunner(
            self.journal, generate, Budget(options.budget, options.prices), options.parallel, stop
        )

    def _end_status(self, runner: SynthesisRunner | None, stop: threading.Event) -> str:
        if not self.pending_jobs:
            return "complete"
        if runner is not None and runner.over_budget:
            return "budget"
        return "interrupted" if stop.is_set() else "incomplete"

    def _write_results(
        self, status: str, llm: LanguageModel | None, runner: SynthesisRunner | None
    ) -> SynthesisReport:
        if llm is not None:
            llm.close()
        outcomes = [self.outcomes[number] for number in sorted(self.outcomes)]
        kept = [outcome for outcome in outcomes if outcome.sample is not None]
        if self.options.min_agreement is not None and kept:
            kept = filter_by_agreement(
                outcomes, self.images, self.load_embedder(), self.options.min_agreement
            )
        write_pairs(self.options.out, (o.sample.to_pair for o in kept if o.sample is not None))
        result = build_report(
            outcomes,
            kept,
            status=status,
            plan=self.plan.fingerprint,
            planned=max(len(self.jobs), len(outcomes)),
            lost=runner.request_errors if runner else (),
            prices=self.options.prices,
        )
        result.write(self.options.report_path)
        return result


@contextmanager
def open_session(
    config: Config, options: SynthesisOptions, *, dry_run: bool = False
) -> Iterator[SynthesisSession]:
    """Opens everything; nothing is written where one will `look_only`. Raises `CollectionError`,
    `FinetuneError`, `DataError`."""
    if options.out.exists() and not options.journal_path.exists():
        raise FinetuneError(
            f"{options.out} is there already, and no journal of it: name another file with --out"
        )
    prompts = load_prompts(options.prompts)
    with OpenCollection.open(config) as collection, ExitStack() as stack:
        images = CollectionImages.from_store(collection.store, config.collection)
        dependencies = f"{prompts.digest} {collection.card.fingerprint}"
        plan = SynthesisPlan(
            images.ids, options.tasks, options.languages, options.seed, dependencies
        )
        jobs = list(plan.iter_jobs(options.count))
        journal = None
        if not dry_run or options.journal_path.exists():
            journal = stack.enter_context(Journal(options.journal_path, plan.fingerprint))
        card = collection.card
        yield SynthesisSession(
            options, images, lambda: load_model(config, card), prompts, plan, jobs, journal
        )
