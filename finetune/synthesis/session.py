"""One run of synthesis over one collection: its estimated cost, its results and their report."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from embedder.files import write_file
from finetune.data.files import write_pairs
from finetune.errors import FinetuneError
from finetune.synthesis.images import CollectionImages, filter_by_agreement
from finetune.synthesis.journal import JobOutcome, Journal
from finetune.synthesis.llm import EndpointLLM, LanguageModel, LLMOptions, estimate_tokens
from finetune.synthesis.pipeline import (
    TYPICAL_ANSWER_TOKENS,
    SynthesisOptions,
    SynthesisRunner,
    generate_sample,
)
from finetune.synthesis.plan import SampleJob, SynthesisPlan
from finetune.synthesis.prompt_templates import PromptTemplates, load_prompts
from indexer.collections.collection import OpenCollection
from indexer.collections.model import load_model

if TYPE_CHECKING:
    from embedder import Embedder
    from indexer.config import Config

MIN_MEASURED_ANSWERS = 10
REPORT_VERSION = 1
BELOW_MIN_AGREEMENT = "agreement below the floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """Estimate for pending `jobs`; `measured` on earlier answers. The fields are JSON keys.

    `cost` is None unless both prices are known.
    """

    jobs: int
    tokens_in: int
    tokens_out: int
    measured: bool
    cost: float | None = None


def estimate_cost(
    jobs: Collection[SampleJob],
    prompts: PromptTemplates,
    image_side: int,
    done: Iterable[JobOutcome] = (),
) -> CostEstimate:
    """Estimate the tokens of `jobs`.

    With enough outcomes in `done` the estimate is their mean. Otherwise it counts a token per 4
    characters and per 28 x 28 pixels of square images with sides of `image_side` pixels, and 1200
    per answer.
    """
    answered = [outcome for outcome in done if outcome.tokens_out]
    measured = len(answered) >= MIN_MEASURED_ANSWERS
    if measured:
        scale = len(jobs) / len(answered)
        tokens_in = round(sum(outcome.tokens_in for outcome in answered) * scale)
        tokens_out = round(sum(outcome.tokens_out for outcome in answered) * scale)
    else:
        tokens_in, tokens_out = 0, TYPICAL_ANSWER_TOKENS * len(jobs)
        counts = Counter(job.combination for job in jobs)
        for job in {job.combination: job for job in jobs}.values():  # stands for its combination
            sizes = [(image_side, image_side)] * len(job.combination.image_roles)
            request = prompts.system + prompts.build_request(job)
            tokens_in += counts[job.combination] * estimate_tokens(request, sizes)
    return CostEstimate(
        jobs=len(jobs), tokens_in=tokens_in, tokens_out=tokens_out, measured=measured
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisReport:
    """The report file; its fields are the JSON keys.

    `written`: pairs of `planned` jobs, by `llms`; `rejected`: counts by reason; `lost`: failed
    requests by message, whose jobs are still pending; `status`: complete, incomplete, budget,
    interrupted or failed.
    """

    format: int = REPORT_VERSION
    status: str
    plan: str
    llms: Mapping[str, int]
    planned: int
    done: int
    written: int
    rejected: Mapping[str, int]
    lost: Mapping[str, int]
    tasks: Mapping[str, int]
    languages: Mapping[str, int]
    tokens: Mapping[str, int]
    cost: float | None


@dataclass(slots=True, kw_only=True)
class SynthesisSession:
    """One run over one collection. `load_embedder` loads the collection's embedder."""

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
        return self.options.prices.total_cost(self.outcomes.values())

    def estimate_remaining(self) -> CostEstimate:
        """Estimate the cost of the pending jobs."""
        side, prices = self.options.image_side, self.options.prices
        estimate = estimate_cost(self.pending_jobs, self.prompts, side, self.outcomes.values())
        if not prices.is_complete:
            return estimate
        return replace(estimate, cost=prices.compute_cost(estimate.tokens_in, estimate.tokens_out))

    def run(
        self,
        llm_options: LLMOptions,
        stop: threading.Event,
        on_outcome: Callable[[JobOutcome], None] = lambda _: None,
    ) -> SynthesisReport:
        """Run the pending jobs, then write the pairs and the report of all jobs so far.

        Raises `LanguageModelError`, `RequestFailedError`, and errors of the collection. The pairs
        and the report are written even then, unless the model cannot be opened.
        """
        if self.journal is None or not self.pending_jobs:
            return self._write_results("complete")
        llm = open_llm(llm_options, stop)
        runner = SynthesisRunner(
            options=self.options,
            journal=self.journal,
            generate=partial(
                generate_sample,
                collection_images=self.images,
                prompts=self.prompts,
                llm=llm,
                image_side=self.options.image_side,
            ),
            stop=stop,
        )
        try:
            with closing(llm):
                for outcome in runner.run(self.pending_jobs):
                    on_outcome(outcome)
        except FinetuneError:
            self._write_results("failed", runner.request_errors)
            raise
        if not self.pending_jobs:
            status = "complete"
        elif runner.over_budget:
            status = "budget"
        else:
            status = "interrupted" if stop.is_set() else "incomplete"
        return self._write_results(status, runner.request_errors)

    def _write_results(self, status: str, request_errors: Sequence[str] = ()) -> SynthesisReport:
        options = self.options
        outcomes = [self.outcomes[number] for number in sorted(self.outcomes)]
        kept = [outcome for outcome in outcomes if outcome.sample is not None]
        if options.min_agreement is not None and kept:
            embedder = self.load_embedder()
            kept = filter_by_agreement(kept, self.images, embedder, options.min_agreement)
        samples = [outcome.sample for outcome in kept if outcome.sample is not None]
        write_pairs(options.out, (sample.to_pair() for sample in samples))
        rejected = Counter(outcome.reason for outcome in outcomes if outcome.sample is None)
        rejected[BELOW_MIN_AGREEMENT] = len(outcomes) - rejected.total() - len(samples)
        report = SynthesisReport(
            status=status,
            plan=self.plan.fingerprint,
            llms=_count(outcome.llm for outcome in kept),
            planned=max(len(self.jobs), len(outcomes)),
            done=len(outcomes),
            written=len(samples),
            rejected=_count(rejected.elements()),
            lost=_count(request_errors),
            tasks=_count(sample.task for sample in samples),
            languages=_count(sample.language for sample in samples if sample.language),
            tokens={
                "in": sum(outcome.tokens_in for outcome in outcomes),
                "out": sum(outcome.tokens_out for outcome in outcomes),
            },
            cost=round(self.cost_so_far, 4) if options.prices.is_complete else None,
        )
        text = json.dumps(asdict(report), indent=2, ensure_ascii=False)
        write_file(options.report_path, text + "\n")
        return report


def open_llm(options: LLMOptions, stop: threading.Event) -> LanguageModel:
    """Open the model; nothing is sent before the first request. Raises `LanguageModelError`."""
    if options.endpoint is not None:
        return EndpointLLM(options, stop)
    from finetune.synthesis.local_llm import LocalLLM

    return LocalLLM(options)


@contextmanager
def open_session(
    config: Config, options: SynthesisOptions, *, dry_run: bool = False
) -> Iterator[SynthesisSession]:
    """Open the collection, the plan and the journal; a dry run creates no journal.

    Raises `CollectionError`, `FinetuneError`, `DataError`.
    """
    if options.out.exists() and not options.journal_path.exists():
        raise FinetuneError(
            f"{options.out} already exists and has no journal; choose another file with --out"
        )
    prompts = load_prompts(options.prompts)
    with OpenCollection.open(config) as collection:
        card = collection.card
        images = CollectionImages.from_store(collection.store, config.collection)
        plan = SynthesisPlan(
            ids=images.ids,
            tasks=options.tasks,
            languages=options.languages,
            seed=options.seed,
            dependencies=f"{prompts.digest} {card.fingerprint}",
        )
        jobs = list(plan.iter_jobs(options.count))
        has_journal = not dry_run or options.journal_path.exists()
        opened = Journal(options.journal_path, plan.fingerprint) if has_journal else nullcontext()
        with opened as journal:
            yield SynthesisSession(
                options=options,
                images=images,
                load_embedder=lambda: load_model(config, card),
                prompts=prompts,
                plan=plan,
                jobs=jobs,
                journal=journal,
            )


def _count(items: Iterable[str]) -> dict[str, int]:
    return dict(Counter(items).most_common())
