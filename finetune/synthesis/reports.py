"""What came of a run: every job counted, every rejection by its reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.synthesis.costs import Prices, spent
from finetune.synthesis.journal import Outcome

FORMAT = 1
BELOW = "agreement below the floor"


@dataclass(frozen=True, slots=True)
class Report:
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
    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        fresh = path.with_name(f".{path.name}.part")
        fresh.write_text(json.dumps(self.plain, indent=2, ensure_ascii=False) + "\n", "utf-8")
        fresh.replace(path)


def report(
    outcomes: Sequence[Outcome],
    agreed: Sequence[Outcome],
    *,
    status: str,
    plan: str,
    planned: int,
    lost: Iterable[str],
    prices: Prices,
) -> Report:
    """Of all that was done, `agreed` are the outcomes that are written."""
    rejected = Counter(outcome.reason for outcome in outcomes if outcome.sample is None)
    below = sum(outcome.sample is not None for outcome in outcomes) - len(agreed)
    samples = [outcome.sample for outcome in agreed if outcome.sample]
    return Report(
        format=FORMAT,
        status=status,
        plan=plan,
        llms=dict(Counter(outcome.by for outcome in agreed).most_common()),
        planned=planned,
        done=len(outcomes),
        written=len(samples),
        rejected=dict((rejected + Counter({BELOW: below})).most_common()),
        lost=dict(Counter(lost).most_common()),
        tasks=dict(Counter(sample.task for sample in samples).most_common()),
        languages=dict(Counter(s.language for s in samples if s.language).most_common()),
        tokens={
            "in": sum(outcome.tokens_in for outcome in outcomes),
            "out": sum(outcome.tokens_out for outcome in outcomes),
        },
        cost=round(spent(outcomes, prices), 4) if prices.known else None,
    )
