"""What a run will cost, told before it starts, and again when the first samples are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil

from finetune.synthesis.journal import Outcome
from finetune.synthesis.plan import Job
from finetune.synthesis.prompts import Prompts

LETTERS = 4  # characters a token, of English; what the prompts are in
PATCH = 28  # pixels: a token a 28 x 28 square, as Qwen-VL counts; OpenAI's tiles come to the same
WRITTEN = 1_200  # tokens of one answer; measured later
ENOUGH = 10  # answers to measure by
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens, in whatever currency; None: not known."""

    incoming: float | None = None
    outgoing: float | None = None

    @property
    def known(self) -> bool:
        return self.incoming is not None and self.outgoing is not None

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """0 where no price is known."""
        incoming, outgoing = self.incoming or 0.0, self.outgoing or 0.0
        return (tokens_in * incoming + tokens_out * outgoing) / MILLION


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of `jobs` that are to be done; `measured` by answers, or by the rule."""

    jobs: int
    tokens_in: int
    tokens_out: int
    measured: bool

    def cost(self, prices: Prices) -> float:
        return prices.of(self.tokens_in, self.tokens_out)


def estimate(
    jobs: Collection[Job], prompts: Prompts, side: int, done: Iterable[Outcome] = ()
) -> Estimate:
    """Of all `jobs`, pictures `side` pixels long on their longer side: by the mean of what is
    `done`, where that is enough; else a token for 4 characters, one for 28 x 28 pixels of a square
    picture, and 1200 for an answer."""
    answered = [outcome for outcome in done if outcome.tokens_out]
    if len(answered) >= ENOUGH:
        share = len(jobs) / len(answered)
        incoming = sum(outcome.tokens_in for outcome in answered) * share
        outgoing = sum(outcome.tokens_out for outcome in answered) * share
        return Estimate(len(jobs), round(incoming), round(outgoing), measured=True)
    asked = {job.combination: 0 for job in jobs}
    for job in {job.combination: job for job in jobs}.values():  # one of each is enough
        asked[job.combination] = _asked(job, prompts, side)
    total = sum(asked[job.combination] for job in jobs)
    return Estimate(len(jobs), total, WRITTEN * len(jobs), measured=False)


def tokens(text: str, sizes: Iterable[tuple[int, int]] = ()) -> int:
    """By the rule, of a text with pictures of these widths and heights in pixels."""
    return ceil(len(text) / LETTERS) + sum(ceil(w / PATCH) * ceil(h / PATCH) for w, h in sizes)


def _asked(job: Job, prompts: Prompts, side: int) -> int:
    pictures = [(side, side)] * len(job.combination.pictures)
    return tokens(prompts.system + prompts.request(job), pictures)


def spent(outcomes: Iterable[Outcome], prices: Prices) -> float:
    """What `outcomes` have cost."""
    return sum(prices.of(outcome.tokens_in, outcome.tokens_out) for outcome in outcomes)
