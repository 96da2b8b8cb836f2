"""Hard negatives: documents that a model takes for right and that are not.

Of the documents that score best for a query, those known to be right are passed over, those of the
same item, and near-duplicates of what is right. What is left and scores almost as well as the
positive is likely to be right too, and merely not known to be: a negative may score at most
`ceiling` times as much (TopK-PercPos of NV-Retriever, https://arxiv.org/abs/2407.15831, with its
0.95). That ceiling lies where each query needs it, so the first ranks are drawn from, as there: to
skip a fixed number of them loses the hardest negatives of queries that have one right answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedder.types import Vectors
from finetune.data.identity import Identities
from finetune.data.pairs import Pair, Side
from finetune.data.pools import Candidate, Embed, Pool
from indexer.folding import SAME
from indexer.types import Vector

BATCH = 64  # queries that the pools are asked at a time
SPARE = 16  # candidates beyond the window, for near-duplicates that are passed over
MOST = 1000  # candidates of a query, however many documents are known to be right for it
NOTHING = "there are too few other documents"
CEILING = "all that come into question score above the ceiling"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Window:
    """Which negatives: ranks `first` to `last` (1 is the best) of what may be one, at most
    `ceiling` times the positive's score, `count` a pair."""

    first: int = 1
    last: int = 50
    ceiling: float = 0.95
    count: int = 1


@dataclass(frozen=True, slots=True)
class Mined:
    """The pairs, negatives added behind those they had; how many were found, and for how many
    pairs none was, by reason."""

    pairs: list[Pair]
    found: int
    without: Mapping[str, int]


def mine(
    pairs: Sequence[Pair],
    embed: Embed,
    pools: Sequence[Pool],
    window: Window = Window(),
    identities: Identities | None = None,
    never: Iterable[Side] = (),
    on_progress: Progress = lambda done, total: None,
) -> Mined:
    """Find hard negatives for each pair in `pools`; documents in `never` are none.

    Raises `DataError` where a picture cannot be read, `EmbedderError`, `StoreError`.
    """
    miner = _Miner(pairs, embed, pools, window, identities or Identities(), never)
    out: list[Pair] = []
    without: Counter[str] = Counter()
    for start in range(0, len(pairs), BATCH):
        places = range(start, min(start + BATCH, len(pairs)))
        for place, candidates in zip(places, miner.candidates(places), strict=True):
            chosen, reason = miner.choose(place, candidates)
            without[reason] += not chosen
            out.append(replace(pairs[place], negatives=pairs[place].negatives + chosen))
        on_progress(places.stop, len(pairs))
    before = sum(len(pair.negatives) for pair in pairs)
    found = sum(len(pair.negatives) for pair in out) - before
    return Mined(out, found, {reason: n for reason, n in without.items() if n})


class _Miner:
    """What is known of all pairs, and the choice for one."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        embed: Embed,
        pools: Sequence[Pool],
        window: Window,
        identities: Identities,
        never: Iterable[Side],
    ) -> None:
        self._pairs, self._pools, self._window, self._of = pairs, pools, window, identities.of
        self._never = frozenset(map(self._of, never))
        self._items = [identities.item(pair) for pair in pairs]
        self._asked = [self._of(pair.query) for pair in pairs]
        self._right: dict[int, list[int]] = defaultdict(list)  # query -> places of its pairs
        self._about: dict[int, set[str]] = defaultdict(set)  # document -> its items
        self._keys = [self._of(pair.positive) for pair in pairs]
        for place in range(len(pairs)):
            self._right[self._asked[place]].append(place)
            self._about[self._keys[place]].add(self._items[place])
        self._queries = _embedded([pair.query for pair in pairs], embed)  # (n, dim)
        self._positives = _positives([pair.positive for pair in pairs], embed, pools)  # (n, dim)

    def candidates(self, places: range) -> list[list[Candidate]]:
        """The candidates of each pair from all pools, best first."""
        queries = self._queries[places.start : places.stop]
        pictured = [bool(self._pairs[place].positive.image) for place in places]
        known = max(len(self._right[self._asked[place]]) for place in places)
        limit = min(self._window.last + known + SPARE, max(MOST, self._window.last))
        answers = [pool.search(queries, pictured, limit) for pool in self._pools]
        merged = [[c for found in row for c in found] for row in zip(*answers, strict=True)]
        return [sorted(row, key=lambda candidate: -candidate.score) for row in merged]

    def choose(self, place: int, candidates: Sequence[Candidate]) -> tuple[tuple[Side, ...], str]:
        """The negatives of a pair, and why there are none."""
        pair, window = self._pairs[place], self._window
        most = _ceiling(float(self._queries[place] @ self._positives[place]), window.ceiling)
        right = self._right[self._asked[place]]
        passed = {self._keys[p] for p in right} | {self._of(side) for side in pair.negatives}
        passed |= {self._asked[place]} | self._never
        about = {self._items[place]}  # and, of what is chosen: of one thing, one negative
        chosen: list[Side] = []
        rank = 0
        for candidate in candidates:
            key = self._of(candidate.side)
            items = self._about.get(key, set())
            if key in passed or items & about or self._looks_right(candidate, right):
                continue
            passed.add(key)
            rank += 1
            if rank > window.last or len(chosen) == window.count:
                break
            if rank >= window.first and candidate.score <= most:
                about |= items
                chosen.append(replace(candidate.side, instruction=pair.positive.instruction))
        return tuple(chosen), CEILING if rank >= window.first else NOTHING

    def _looks_right(self, candidate: Candidate, right: list[int]) -> bool:
        """Whether it is a near-duplicate of one of the query's positives."""
        return bool((self._positives[right] @ candidate.vector).max() >= SAME)


def _ceiling(positive: float, share: float) -> float:
    """The highest score of a negative; below zero, too, it is less than the positive's."""
    return positive - abs(positive) * (1 - share)


def _embedded(sides: Sequence[Side], embed: Embed) -> Vectors:
    """(n, dim): equal queries are embedded once."""
    places = {side: place for place, side in enumerate(dict.fromkeys(sides))}
    rows = embed(list(places), "query")
    return rows[[places[side] for side in sides]]


def _positives(sides: Sequence[Side], embed: Embed, pools: Sequence[Pool]) -> Vectors:
    """(n, dim): as a pool has them, else embedded."""
    found: dict[int, Vector] = {}
    for pool in pools:
        found |= pool.stored(sides)
    rest = list(dict.fromkeys(side for i, side in enumerate(sides) if i not in found))
    made = dict(zip(rest, embed(rest, "document"), strict=True)) if rest else {}
    return np.stack([found[i] if i in found else made[side] for i, side in enumerate(sides)])
