"""The synthesis pipeline: generate -> check -> journal, several jobs at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.images.decode import decode_image, read_file
from finetune.errors import FinetuneError
from finetune.synthesis.checks import check_sample, fold_text, parse_revised
from finetune.synthesis.images import CollectionImages, choose_images
from finetune.synthesis.journal import JobOutcome, Journal, Prices, Sample
from finetune.synthesis.llm import (
    LanguageModel,
    Reply,
    Request,
    RequestFailedError,
    RunStoppedError,
)
from finetune.synthesis.plan import Rejected, SampleJob
from finetune.synthesis.prompt_templates import (
    INSTRUCTION,
    PromptTemplates,
    answer_schema,
)
from indexer.errors import UnusableFileError

if TYPE_CHECKING:
    from PIL.Image import Image


TYPICAL_ANSWER_TOKENS = 1_200
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
    collection_images: CollectionImages,
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
        images = choose_images(job, collection_images)
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
    """Runs jobs that are not in the journal, several at once.

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
        pending = iter(jobs)
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


def _duplicate_key(sample: Sample) -> str:
    """Return what two duplicates share: their text and, if that is short, their images.

    Class names may repeat.
    """
    text = " / ".join(map(fold_text, sample.texts.values()))
    if len(text) >= MIN_DUPLICATE_CHARS:
        return text
    return " / ".join([text, *(image.id for image in sample.pictures.values())])
