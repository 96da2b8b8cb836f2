"""The whole run: what the journal lacks is done, within the budget, and every end is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from finetune.synthesis.checks import normal
from finetune.synthesis.costs import WRITTEN, Prices
from finetune.synthesis.crew import Crew
from finetune.synthesis.journal import Journal, Outcome
from finetune.synthesis.plan import Job
from finetune.synthesis.samples import Sample
from finetune.synthesis.writers import HaltedError, LostError

IN_A_ROW = 5  # requests lost one after another end the run
WORDY = 40  # letters: the same words again are a repetition, whatever the picture


@dataclass(slots=True)
class Budget:
    """What may be spent, by the mean of what the answers so far have cost; None: anything."""

    most: float | None
    prices: Prices
    spent: float = 0.0
    answers: int = 0
    under_way: int = 0

    def allows_one_more(self) -> bool:
        """Whether what is under way and one request more stay within it."""
        if self.most is None:
            return True
        one = self.spent / self.answers if self.answers else self.prices.of(2 * WRITTEN, WRITTEN)
        return self.spent + one * (self.under_way + 1) <= self.most

    def pay(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.spent += self.prices.of(outcome.tokens_in, outcome.tokens_out)
            self.answers += outcome.tokens_out > 0


@dataclass(slots=True)
class Run:
    """Does the jobs of a plan that `journal` does not have. `stop` ends it after the requests that
    are under way; `lost` tells why jobs stayed undone, a message each."""

    journal: Journal
    make: Callable[[Job], Outcome]
    budget: Budget
    parallel: int = 1
    stop: threading.Event = field(default_factory=threading.Event)
    over_budget: bool = field(default=False, init=False)
    lost: list[str] = field(default_factory=list, init=False)
    _row: int = field(default=0, init=False)  # lost one after another
    _seen: set[str] = field(default_factory=set, init=False)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Each job's end, on disk before it comes. Raises `WriterError`, or `LostError` where
        nothing gets through, after what was under way has come in."""
        before = self.journal.outcomes
        self._seen = {_words(outcome.sample) for outcome in before.values() if outcome.sample}
        self.budget.pay(before.values())
        todo = [job for job in jobs if job.number not in before]
        fault: Exception | None = None
        for done in Crew(self._affordable(todo), self.make, self.parallel):
            self.budget.under_way -= 1
            if isinstance(done, Outcome):
                self._row = 0
                yield self._kept(done)
            elif not isinstance(done, HaltedError) and (found := self._fault(done)) is not None:
                self.stop.set()
                fault = fault or found
        if fault is not None:
            raise fault

    def _fault(self, error: Exception) -> Exception | None:
        """What ends the run; None where one job is lost and others may get through."""
        if not isinstance(error, LostError):
            return error
        self._row += 1
        self.lost.append(str(error))
        return LostError(f"{error} ({self._row} times in a row)") if self._row >= IN_A_ROW else None

    def _kept(self, outcome: Outcome) -> Outcome:
        self.budget.pay([outcome])
        if outcome.sample is not None:
            words = _words(outcome.sample)
            if words in self._seen:
                outcome = replace(outcome, sample=None, reason="duplicate", detail=words[:100])
            self._seen.add(words)
        self.journal.add(outcome)
        return outcome

    def _affordable(self, todo: Iterable[Job]) -> Iterator[Job]:
        for job in todo:
            if self.stop.is_set():
                return
            if not self.budget.allows_one_more():
                self.over_budget = True
                return
            self.budget.under_way += 1
            yield job


def _words(sample: Sample) -> str:
    """What makes two samples the same: their words, and where those are few or none, their
    pictures too. A class's name may well come again."""
    words = " / ".join(normal(text) for text in sample.texts.values())
    if len(words) >= WORDY:
        return words
    return " / ".join([words, *(picture.id for picture in sample.pictures.values())])
