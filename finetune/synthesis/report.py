"""Costs before, during and after a run, and the report that is written at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from finetune.synthesis.journal import JobOutcome
from finetune.synthesis.llm import estimate_tokens
from finetune.synthesis.plan import SampleJob
from finetune.synthesis.prompt_templates import PromptTemplates

TYPICAL_ANSWER_TOKENS = 1_200
MIN_MEASURED_ANSWERS = 10
REPORT_VERSION = 1
BELOW_MIN_AGREEMENT = "agreement below the floor"


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a million tokens, in any currency; None if unknown."""

    input_price: float | None = None
    output_price: float | None = None

    @property
    def is_complete(self) -> bool:
        return self.input_price is not None and self.output_price is not None

    def compute_cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return the cost; 0 if no price is known."""
        total = tokens_in * (self.input_price or 0.0) + tokens_out * (self.output_price or 0.0)
        return total / 1e6

    def total_cost(self, outcomes: Iterable[JobOutcome]) -> float:
        """Return what `outcomes` have cost."""
        return sum(self.compute_cost(one.tokens_in, one.tokens_out) for one in outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """Estimate for pending `jobs`; `measured` on earlier answers. The fields are JSON keys."""

    jobs: int
    tokens_in: int
    tokens_out: int
    measured: bool


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


def build_report(
    outcomes: Sequence[JobOutcome],
    kept: Sequence[JobOutcome],
    *,
    status: str,
    plan: str,
    planned: int,
    lost: Iterable[str],
    prices: Prices,
) -> SynthesisReport:
    """Summarize all `outcomes`; `kept` are those whose pairs are written."""
    samples = [outcome.sample for outcome in kept if outcome.sample]
    rejected = Counter(outcome.reason for outcome in outcomes if outcome.sample is None)
    rejected[BELOW_MIN_AGREEMENT] = len(outcomes) - rejected.total() - len(samples)
    return SynthesisReport(
        status=status,
        plan=plan,
        llms=_count(outcome.llm for outcome in kept),
        planned=planned,
        done=len(outcomes),
        written=len(samples),
        rejected=_count(rejected.elements()),
        lost=_count(lost),
        tasks=_count(sample.task for sample in samples),
        languages=_count(sample.language for sample in samples if sample.language),
        tokens={
            "in": sum(outcome.tokens_in for outcome in outcomes),
            "out": sum(outcome.tokens_out for outcome in outcomes),
        },
        cost=round(prices.total_cost(outcomes), 4) if prices.is_complete else None,
    )


def _count(items: Iterable[str]) -> dict[str, int]:
    return dict(Counter(items).most_common())
