"""What came of a run: every job counted, every rejection by its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.synthesis.cost import Prices, total_cost
from finetune.synthesis.journal import JobOutcome

REPORT_VERSION = 1
BELOW_MIN_AGREEMENT = "agreement below the floor"


@dataclass(frozen=True, slots=True)
class SynthesisReport:
    """`written` pairs of `planned` jobs, by `llms`; `rejected` by reason; `lost` requests by
    message, whose jobs are still to be done. `status`: complete, incomplete, budget, interrupted or
    failed."""

    format: int
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

    @property
    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(json.dumps(self.to_dict, indent=2, ensure_ascii=False) + "\n", "utf-8")
        temporary.replace(path)


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
    """Of all that was done, `agreed` are the outcomes that are written."""
    rejected = Counter(outcome.reason for outcome in outcomes if outcome.sample is None)
    below_agreement = sum(outcome.sample is not None for outcome in outcomes) - len(kept)
    samples = [outcome.sample for outcome in kept if outcome.sample]
    return SynthesisReport(
        format=REPORT_VERSION,
        status=status,
        plan=plan,
        llms=dict(Counter(outcome.llm for outcome in kept).most_common()),
        planned=planned,
        done=len(outcomes),
        written=len(samples),
        rejected=dict((rejected + Counter({BELOW_MIN_AGREEMENT: below_agreement})).most_common()),
        lost=dict(Counter(lost).most_common()),
        tasks=dict(Counter(sample.task for sample in samples).most_common()),
        languages=dict(Counter(s.language for s in samples if s.language).most_common()),
        tokens={
            "in": sum(outcome.tokens_in for outcome in outcomes),
            "out": sum(outcome.tokens_out for outcome in outcomes),
        },
        cost=round(total_cost(outcomes, prices), 4) if prices.is_complete else None,
    )
