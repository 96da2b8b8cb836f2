"""What a run will cost, told before it starts, and again when the first samples are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil

from finetune.synthesis.journal import JobOutcome
from finetune.synthesis.plan import SampleJob
from finetune.synthesis.prompt_templates import PromptTemplates

CHARS_PER_TOKEN = 4  # characters a token, of English; what the prompts are in
PATCH_PIXELS = (
    28  # pixels: a token a 28 x 28 square, as Qwen-VL counts; OpenAI's tiles come to the same
)
TYPICAL_ANSWER_TOKENS = 1_200  # tokens of one answer; measured later
MIN_MEASURED_ANSWERS = 10  # answers to measure by
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Prices:
    """Of a million tokens, in whatever currency; None: not known."""

    input_price: float | None = None
    output_price: float | None = None

    @property
    def is_complete(self) -> bool:
        return self.input_price is not None and self.output_price is not None

    def compute_cost(self, tokens_in: float, tokens_out: float) -> float:
        """0 where no price is known."""
        input_price, output_price = self.input_price or 0.0, self.output_price or 0.0
        return (tokens_in * input_price + tokens_out * output_price) / MILLION


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Of `jobs` that are to be done; `measured` by answers, or by the rule."""

    jobs: int
    tokens_in: int
    tokens_out: int
    measured: bool

    def compute_cost(self, prices: Prices) -> float:
        return prices.compute_cost(self.tokens_in, self.tokens_out)


def estimate_cost(
    jobs: Collection[SampleJob],
    prompts: PromptTemplates,
    image_side: int,
    done: Iterable[JobOutcome] = (),
) -> CostEstimate:
    """Of all `jobs`, pictures `side` pixels long on their longer side: by the mean of what is
    `done`, where that is enough; else a token for 4 characters, one for 28 x 28 pixels of a square
    picture, and 1200 for an answer."""
    answered = [outcome for outcome in done if outcome.tokens_out]
    if len(answered) >= MIN_MEASURED_ANSWERS:
        scale = len(jobs) / len(answered)
        tokens_in = sum(outcome.tokens_in for outcome in answered) * scale
        tokens_out = sum(outcome.tokens_out for outcome in answered) * scale
        return CostEstimate(len(jobs), round(tokens_in), round(tokens_out), measured=True)
    tokens_by_combination = {job.combination: 0 for job in jobs}
    for job in {job.combination: job for job in jobs}.values():  # one of each is enough
        tokens_by_combination[job.combination] = _estimate_request_tokens(job, prompts, image_side)
    total = sum(tokens_by_combination[job.combination] for job in jobs)
    return CostEstimate(len(jobs), total, TYPICAL_ANSWER_TOKENS * len(jobs), measured=False)


def estimate_tokens(text: str, sizes: Iterable[tuple[int, int]] = ()) -> int:
    """By the rule, of a text with pictures of these widths and heights in pixels."""
    return ceil(len(text) / CHARS_PER_TOKEN) + sum(
        ceil(w / PATCH_PIXELS) * ceil(h / PATCH_PIXELS) for w, h in sizes
    )


def _estimate_request_tokens(job: SampleJob, prompts: PromptTemplates, image_side: int) -> int:
    image_sizes = [(image_side, image_side)] * len(job.combination.image_roles)
    return estimate_tokens(prompts.system + prompts.build_request(job), image_sizes)


def total_cost(outcomes: Iterable[JobOutcome], prices: Prices) -> float:
    """What `outcomes` have cost."""
    return sum(prices.compute_cost(outcome.tokens_in, outcome.tokens_out) for outcome in outcomes)
