"""What a source gives: pairs, and what it has that gives none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from finetune.data.pairs import Pair


@dataclass(frozen=True, slots=True)
class SourcePairs:
    """The pairs of one source, and how many things were left out, by reason."""

    pairs: Sequence[Pair]
    left_out: Counter[str] = field(default_factory=Counter)
