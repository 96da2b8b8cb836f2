"""The whole run: what the journal lacks is done, within the budget, and every end is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from finetune.synthesis.checks import fold_text
from finetune.synthesis.cost import TYPICAL_ANSWER_TOKENS, Prices
from finetune.synthesis.journal import JobOutcome, Journal
from finetune.synthesis.llm import RequestFailedError, RunStoppedError
from finetune.synthesis.plan import SampleJob
from finetune.synthesis.samples import Sample
from finetune.synthesis.thread_pool import WorkerThreads

MAX_CONSECUTIVE_FAILURES = 5  # requests lost one after another end the run
MIN_DUPLICATE_CHARS = 40  # letters: the same words again are a repetition, whatever the picture


@dataclass(slots=True)
class Budget:
    """What may be spent, by the mean of what the answers so far have cost; None: anything."""

    limit: float | None
    prices: Prices
    spent: float = 0.0
    answers: int = 0
    in_flight: int = 0

    def allows_request(self) -> bool:
        """Whether what is under way and one request more stay within it."""
        if self.limit is None:
            return True
        cost_per_request = (
            self.spent / self.answers
            if self.answers
            else self.prices.compute_cost(2 * TYPICAL_ANSWER_TOKENS, TYPICAL_ANSWER_TOKENS)
        )
        return self.spent + cost_per_request * (self.in_flight + 1) <= self.limit

    def record_costs(self, outcomes: Iterable[JobOutcome]) -> None:
        for outcome in outcomes:
            self.spent += self.prices.compute_cost(outcome.tokens_in, outcome.tokens_out)
            self.answers += outcome.tokens_out > 0


@dataclass(slots=True)
class SynthesisRunner:
    """Does the jobs of a plan that `journal` does not have. `stop` ends it after the requests that
    are under way; `lost` tells why jobs stayed undone, a message each."""

    journal: Journal
    generate: Callable[[SampleJob], JobOutcome]
    budget: Budget
    parallel: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    over_budget: bool = field(default=False, init=False)
    request_errors: list[str] = field(default_factory=list, init=False)
    _consecutive_failures: int = field(default=0, init=False)  # lost one after another
    _seen_keys: set[str] = field(default_factory=set, init=False)

    def __call__(self, jobs: Sequence[SampleJob]) -> Iterator[JobOutcome]:
        """Each job's end, on disk before it comes. Raises `WriterError`, or `LostError` where
        nothing gets through, after what was under way has come in."""
        earlier_outcomes = self.journal.outcomes
        self._seen_keys = {
            _duplicate_key(outcome.sample)
            for outcome in earlier_outcomes.values()
            if outcome.sample
        }
        self.budget.record_costs(earlier_outcomes.values())
        pending = [job for job in jobs if job.number not in earlier_outcomes]
        fatal_error: Exception | None = None
        for result in WorkerThreads(self._iter_affordable(pending), self.generate, self.parallel):
            self.budget.in_flight -= 1
            if isinstance(result, JobOutcome):
                self._consecutive_failures = 0
                yield self._record_outcome(result)
            elif (
                not isinstance(result, RunStoppedError)
                and (error := self._handle_error(result)) is not None
            ):
                self.stop.set()
                fatal_error = fatal_error or error
        if fatal_error is not None:
            raise fatal_error

    def _handle_error(self, error: Exception) -> Exception | None:
        """What ends the run; None where one job is lost and others may get through."""
        if not isinstance(error, RequestFailedError):
            return error
        self._consecutive_failures += 1
        self.request_errors.append(str(error))
        return (
            RequestFailedError(f"{error} ({self._consecutive_failures} times in a row)")
            if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES
            else None
        )

    def _record_outcome(self, outcome: JobOutcome) -> JobOutcome:
        self.budget.record_costs([outcome])
        if outcome.sample is not None:
            key = _duplicate_key(outcome.sample)
            if key in self._seen_keys:
                outcome = replace(outcome, sample=None, reason="duplicate", detail=key[:100])
            self._seen_keys.add(key)
        self.journal.add(outcome)
        return outcome

    def _iter_affordable(self, pending: Iterable[SampleJob]) -> Iterator[SampleJob]:
        for job in pending:
            if self.stop.is_set():
                return
            if not self.budget.allows_request():
                self.over_budget = True
                return
            self.budget.in_flight += 1
            yield job


def _duplicate_key(sample: Sample) -> str:
    """What makes two samples the same: their words, and where those are few or none, their
    pictures too. A class's name may well come again."""
    words = " / ".join(fold_text(text) for text in sample.texts.values())
    if len(words) >= MIN_DUPLICATE_CHARS:
        return words
    return " / ".join([words, *(picture.id for picture in sample.pictures.values())])
