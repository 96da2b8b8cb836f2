"""The synthesis pipeline: plan -> generate -> check -> journal -> filter -> pairs and report."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.images.decode import decode_image, read_file
from finetune.data.files import write_pairs
from finetune.errors import FinetuneError
from finetune.run_dir import write_text_atomic
from finetune.synthesis.checks import check_sample, fold_text, parse_revised
from finetune.synthesis.images import CollectionImages, filter_by_agreement
from finetune.synthesis.journal import JobOutcome, Journal, Sample
from finetune.synthesis.llm import (
    EndpointLLM,
    LanguageModel,
    LLMOptions,
    Reply,
    Request,
    RequestFailedError,
    RunStoppedError,
)
from finetune.synthesis.plan import ImageSource, Rejected, SampleJob, SynthesisPlan, choose_images
from finetune.synthesis.prompt_templates import (
    INSTRUCTION,
    PromptTemplates,
    answer_schema,
    load_prompts,
)
from finetune.synthesis.report import (
    TYPICAL_ANSWER_TOKENS,
    CostEstimate,
    Prices,
    SynthesisReport,
    build_report,
    estimate_cost,
)
from indexer.collections.collection import OpenCollection
from indexer.collections.model import load_model
from indexer.errors import UnusableFileError

if TYPE_CHECKING:
    from PIL.Image import Image

    from embedder import Embedder
    from indexer.config import Config

MAX_CONSECUTIVE_FAILURES = 5  # failed requests in a row that end the run
MIN_DUPLICATE_CHARS = 40  # the same text of this length is a duplicate, whatever the images


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisOptions:
    """Options of a run. `min_agreement` None: keep all samples."""

    out: Path
    count: int
    tasks: Mapping[str, float]  # weights
    languages: Mapping[str, float]  # weights
    seed: int = 0
    prompts: Path | None = None
    image_side: int = 768  # pixels; longer side of the images that the model sees
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


def generate_sample(
    job: SampleJob,
    source: ImageSource,
    prompts: PromptTemplates,
    llm: LanguageModel,
    image_side: int = 768,
) -> JobOutcome:
    """Generate the sample of a job: one call of the model, then the checks.

    A sample that fails a check is an outcome, too. Raises `LanguageModelError`,
    `RequestFailedError`.
    """
    reply, sample, reason, detail = Reply(""), None, "", ""
    schema = answer_schema(job.combination)
    try:
        images = choose_images(job, source)
        request = Request(
            system=prompts.system,
            text=prompts.build_request(job),
            images=tuple(_load_image(image.path, image_side) for image in images.values()),
            schema=schema,
            seed=job.seed,
        )
        reply = llm.generate(request)
        texts = parse_revised(reply, schema)
        check_sample(texts, job.combination, job.language)
        instruction = texts.pop(INSTRUCTION)
        sample = Sample(
            task=job.combination.task,
            language=job.language.code if texts else None,
            item=images[job.combination.image_roles[0]].content,
            instruction=instruction,
            texts=texts,
            pictures=images,
        )
    except Rejected as rejection:
        reason, detail = rejection.reason, rejection.detail
    return JobOutcome(
        job=job.number,
        sample=sample,
        reason=reason,
        detail=detail,
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        llm=llm.name,
    )


def _load_image(path: str, max_side: int) -> Image:
    """Load an image as upright RGB of at most `max_side` pixels; raises `Rejected`."""
    try:
        image = decode_image(read_file(path), side=max_side).image
    except UnusableFileError as error:
        raise Rejected("picture is gone", f"{path}: {error}") from error
    image.thumbnail((max_side, max_side))
    return image


@dataclass(slots=True, kw_only=True)
class SynthesisRunner:
    """Runs the jobs that are not in the journal, several at once.

    The budget limits the cost, by the mean cost of the answers so far. `stop` ends the run after
    the requests in flight. `request_errors`: messages of failed requests, whose jobs stay pending.
    """

    options: SynthesisOptions
    journal: Journal
    generate: Callable[[SampleJob], JobOutcome]
    stop: threading.Event
    over_budget: bool = field(default=False, init=False)
    request_errors: list[str] = field(default_factory=list, init=False)
    _spent: float = field(default=0.0, init=False)
    _answers: int = field(default=0, init=False)
    _consecutive_failures: int = field(default=0, init=False)
    _seen_keys: set[str] = field(default_factory=set, init=False)

    def run(self, jobs: Sequence[SampleJob]) -> Iterator[JobOutcome]:
        """Yield each outcome once it is in the journal.

        Raises `LanguageModelError`, or `RequestFailedError` after too many failures in a row, when
        the requests in flight have ended.
        """
        for outcome in self.journal.outcomes.values():
            self._record_cost(outcome)
            if outcome.sample:
                self._seen_keys.add(_duplicate_key(outcome.sample))
        pending = iter([job for job in jobs if job.number not in self.journal.outcomes])
        in_flight: set[Future[JobOutcome]] = set()
        fatal_error: Exception | None = None
        pool = ThreadPoolExecutor(self.options.parallel, thread_name_prefix="synthesis")
        try:
            while True:
                while len(in_flight) < self.options.parallel:
                    job = self._next_job(pending, len(in_flight))
                    if job is None:
                        break
                    in_flight.add(pool.submit(self.generate, job))
                if not in_flight:
                    break
                done, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if error is None:
                        self._consecutive_failures = 0
                        yield self._record(future.result())
                    elif error := self._find_fatal(error):
                        self.stop.set()
                        fatal_error = fatal_error or error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if fatal_error is not None:
            raise fatal_error

    def _next_job(self, pending: Iterator[SampleJob], in_flight: int) -> SampleJob | None:
        if self.stop.is_set() or self.over_budget:
            return None
        job = next(pending, None)
        prices, budget = self.options.prices, self.options.budget
        if job is not None and budget is not None:
            cost = prices.compute_cost(2 * TYPICAL_ANSWER_TOKENS, TYPICAL_ANSWER_TOKENS)
            if self._answers:
                cost = self._spent / self._answers
            self.over_budget = self._spent + cost * (in_flight + 1) > budget
        return None if self.over_budget else job

    def _record_cost(self, outcome: JobOutcome) -> None:
        self._spent += self.options.prices.total_cost([outcome])
        self._answers += outcome.tokens_out > 0

    def _find_fatal(self, error: BaseException) -> Exception | None:
        """Return the error that ends the run; None if other jobs may succeed."""
        if isinstance(error, RunStoppedError):
            return None
        if not isinstance(error, RequestFailedError):
            return error if isinstance(error, Exception) else FinetuneError(repr(error))
        self._consecutive_failures += 1
        self.request_errors.append(str(error))
        if self._consecutive_failures < MAX_CONSECUTIVE_FAILURES:
            return None
        return RequestFailedError(f"{error} ({self._consecutive_failures} times in a row)")

    def _record(self, outcome: JobOutcome) -> JobOutcome:
        self._record_cost(outcome)
        if outcome.sample is not None:
            key = _duplicate_key(outcome.sample)
            if key in self._seen_keys:
                outcome = replace(outcome, sample=None, reason="duplicate", detail=key[:100])
            self._seen_keys.add(key)
        self.journal.add(outcome)
        return outcome


def open_llm(options: LLMOptions, stop: threading.Event) -> LanguageModel:
    """Open the model; nothing is sent before the first request. Raises `LanguageModelError`."""
    if options.endpoint is not None:
        return EndpointLLM(options, stop)
    from finetune.synthesis.local_llm import LocalLLM

    return LocalLLM(options)


def _duplicate_key(sample: Sample) -> str:
    """Return what two duplicates share: their text and, if that is short, their images.

    Class names may repeat.
    """
    text = " / ".join(map(fold_text, sample.texts.values()))
    if len(text) >= MIN_DUPLICATE_CHARS:
        return text
    return " / ".join([text, *(image.id for image in sample.pictures.values())])


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
        side = self.options.image_side
        return estimate_cost(self.pending_jobs, self.prompts, side, self.outcomes.values())

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
                source=self.images,
                prompts=self.prompts,
                llm=llm,
                image_side=self.options.image_side,
            ),
            stop=stop,
        )
        try:
            with closing(llm):
                for outcome in runner.run(self.jobs):
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
        write_pairs(options.out, (o.sample.to_pair() for o in kept if o.sample is not None))
        report = build_report(
            outcomes,
            kept,
            status=status,
            plan=self.plan.fingerprint,
            planned=max(len(self.jobs), len(outcomes)),
            lost=request_errors,
            prices=options.prices,
        )
        text = json.dumps(asdict(report), indent=2, ensure_ascii=False)
        write_text_atomic(options.report_path, text + "\n")
        return report


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
    with OpenCollection.open(config) as collection, ExitStack() as stack:
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
        journal = None
        if not dry_run or options.journal_path.exists():
            journal = stack.enter_context(Journal(options.journal_path, plan.fingerprint))
        yield SynthesisSession(
            options=options,
            images=images,
            load_embedder=lambda: load_model(config, card),
            prompts=prompts,
            plan=plan,
            jobs=jobs,
            journal=journal,
        )
