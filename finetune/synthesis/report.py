"""Costs before, during and after a run, and the report that is written at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from finetune.synthesis.journal import JobOutcome
from finetune.synthesis.plan import SampleJob
from finetune.synthesis.prompt_templates import PromptTemplates

CHARS_PER_TOKEN = 4  # of English, the language of the prompts
PATCH_PIXELS = 28  # a token per 28 x 28 pixels, as Qwen-VL counts; OpenAI's tiles come to the same
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
        million = 1e6
        total = tokens_in * (self.input_price or 0.0) + tokens_out * (self.output_price or 0.0)
        return total / million


def total_cost(outcomes: Iterable[JobOutcome], prices: Prices) -> float:
    """Return what `outcomes` have cost."""
    return sum(prices.compute_cost(outcome.tokens_in, outcome.tokens_out) for outcome in outcomes)


def estimate_tokens(text: str, sizes: Iterable[tuple[int, int]] = ()) -> int:
    """Estimate the tokens of a text and of images with these widths and heights in pixels."""
    patches = (ceil(w / PATCH_PIXELS) * ceil(h / PATCH_PIXELS) for w, h in sizes)
    return ceil(len(text) / CHARS_PER_TOKEN) + sum(patches)


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
    if len(answered) >= MIN_MEASURED_ANSWERS:
        scale = len(jobs) / len(answered)
        return CostEstimate(
            jobs=len(jobs),
            tokens_in=round(sum(outcome.tokens_in for outcome in answered) * scale),
            tokens_out=round(sum(outcome.tokens_out for outcome in answered) * scale),
            measured=True,
        )
    tokens_in = 0
    counts = Counter(job.combination for job in jobs)
    for job in {job.combination: job for job in jobs}.values():  # one stands for its combination
        sizes = [(image_side, image_side)] * len(job.combination.image_roles)
        request = prompts.system + prompts.build_request(job)
        tokens_in += counts[job.combination] * estimate_tokens(request, sizes)
    return CostEstimate(
        jobs=len(jobs),
        tokens_in=tokens_in,
        tokens_out=TYPICAL_ANSWER_TOKENS * len(jobs),
        measured=False,
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
    rejected = Counter(outcome.reason for outcome in outcomes if outcome.sample is None)
    below = sum(outcome.sample is not None for outcome in outcomes) - len(kept)
    samples = [outcome.sample for outcome in kept if outcome.sample]
    return SynthesisReport(
        status=status,
        plan=plan,
        llms=dict(Counter(outcome.llm for outcome in kept).most_common()),
        planned=planned,
        done=len(outcomes),
        written=len(samples),
        rejected=dict((rejected + Counter({BELOW_MIN_AGREEMENT: below})).most_common()),
        lost=dict(Counter(lost).most_common()),
        tasks=dict(Counter(sample.task for sample in samples).most_common()),
        languages=dict(Counter(s.language for s in samples if s.language).most_common()),
        tokens={
            "in": sum(outcome.tokens_in for outcome in outcomes),
            "out": sum(outcome.tokens_out for outcome in outcomes),
        },
        cost=round(total_cost(outcomes, prices), 4) if prices.is_complete else None,
    )
