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
from finetune.data.candidate_index import Candidate, CandidateIndex, EmbedSides
from finetune.data.content_keys import ContentKeys
from finetune.data.pairs import Pair, Side
from indexer.search.rerank import DUPLICATE_COSINE
from indexer.types import Vector

QUERY_BATCH = 64  # queries that the pools are asked at a time
EXTRA_CANDIDATES = 16  # candidates beyond the window, for near-duplicates that are passed over
MAX_CANDIDATES = 1000  # candidates of a query, however many documents are known to be right for it
TOO_FEW_DOCUMENTS = "there are too few other documents"
ALL_ABOVE_MAX_SCORE = "all that come into question score above the ceiling"

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class NegativeSelection:
    """Which negatives: ranks `first` to `last` (1 is the best) of what may be one, at most
    `ceiling` times the positive's score, `count` a pair."""

    first_rank: int = 1
    last_rank: int = 50
    max_positive_ratio: float = 0.95
    per_pair: int = 1


@dataclass(frozen=True, slots=True)
class MinedPairs:
    """The pairs, negatives added behind those they had; how many were found, and for how many
    pairs none was, by reason."""

    pairs: list[Pair]
    found: int
    without_negatives: Mapping[str, int]


def mine_hard_negatives(
    pairs: Sequence[Pair],
    embed: EmbedSides,
    indexes: Sequence[CandidateIndex],
    selection: NegativeSelection = NegativeSelection(),
    content_keys: ContentKeys | None = None,
    excluded: Iterable[Side] = (),
    on_progress: ProgressCallback = lambda done, total: None,
) -> MinedPairs:
    """Find hard negatives for each pair in `pools`; documents in `never` are none.

    Raises `DataError` where a picture cannot be read, `EmbedderError`, `StoreError`.
    """
    miner = _Miner(pairs, embed, indexes, selection, content_keys or ContentKeys(), excluded)
    out: list[Pair] = []
    without: Counter[str] = Counter()
    for start in range(0, len(pairs), QUERY_BATCH):
        rows = range(start, min(start + QUERY_BATCH, len(pairs)))
        for row, candidates in zip(rows, miner.find_candidates(rows), strict=True):
            chosen, reason = miner.select_negatives(row, candidates)
            without[reason] += not chosen
            out.append(replace(pairs[row], negatives=pairs[row].negatives + chosen))
        on_progress(rows.stop, len(pairs))
    before = sum(len(pair.negatives) for pair in pairs)
    found = sum(len(pair.negatives) for pair in out) - before
    return MinedPairs(out, found, {reason: n for reason, n in without.items() if n})


class _Miner:
    """What is known of all pairs, and the choice for one."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        embed: EmbedSides,
        indexes: Sequence[CandidateIndex],
        selection: NegativeSelection,
        content_keys: ContentKeys,
        excluded: Iterable[Side],
    ) -> None:
        self._pairs, self._indexes, self._selection, self._hash_side = (
            pairs,
            indexes,
            selection,
            content_keys.hash_side,
        )
        self._excluded_keys = frozenset(map(self._hash_side, excluded))
        self._items = [content_keys.item_of(pair) for pair in pairs]
        self._query_keys = [self._hash_side(pair.query) for pair in pairs]
        self._pairs_by_query: dict[int, list[int]] = defaultdict(
            list
        )  # query -> places of its pairs
        self._items_by_document: dict[int, set[str]] = defaultdict(set)  # document -> its items
        self._positive_keys = [self._hash_side(pair.positive) for pair in pairs]
        for row in range(len(pairs)):
            self._pairs_by_query[self._query_keys[row]].append(row)
            self._items_by_document[self._positive_keys[row]].add(self._items[row])
        self._queries = _embed_queries([pair.query for pair in pairs], embed)  # (n, dim)
        self._positives = _embed_positives(
            [pair.positive for pair in pairs], embed, indexes
        )  # (n, dim)

    def find_candidates(self, rows: range) -> list[list[Candidate]]:
        """The candidates of each pair from all pools, best first."""
        queries = self._queries[rows.start : rows.stop]
        has_image = [bool(self._pairs[place].positive.image) for place in rows]
        positive_count = max(len(self._pairs_by_query[self._query_keys[place]]) for place in rows)
        limit = min(
            self._selection.last_rank + positive_count + EXTRA_CANDIDATES,
            max(MAX_CANDIDATES, self._selection.last_rank),
        )
        answers = [index.search(queries, has_image, limit) for index in self._indexes]
        merged = [[c for found in row for c in found] for row in zip(*answers, strict=True)]
        return [sorted(row, key=lambda candidate: -candidate.score) for row in merged]

    def select_negatives(
        self, row: int, candidates: Sequence[Candidate]
    ) -> tuple[tuple[Side, ...], str]:
        """The negatives of a pair, and why there are none."""
        pair, selection = self._pairs[row], self._selection
        max_score = _max_negative_score(
            float(self._queries[row] @ self._positives[row]), selection.max_positive_ratio
        )
        positive_rows = self._pairs_by_query[self._query_keys[row]]
        excluded = {self._positive_keys[p] for p in positive_rows} | {
            self._hash_side(side) for side in pair.negatives
        }
        excluded |= {self._query_keys[row]} | self._excluded_keys
        seen_items = {self._items[row]}  # and, of what is chosen: of one thing, one negative
        chosen: list[Side] = []
        rank = 0
        for candidate in candidates:
            key = self._hash_side(candidate.side)
            items = self._items_by_document.get(key, set())
            if (
                key in excluded
                or items & seen_items
                or self._duplicates_positive(candidate, positive_rows)
            ):
                continue
            excluded.add(key)
            rank += 1
            if rank > selection.last_rank or len(chosen) == selection.per_pair:
                break
            if rank >= selection.first_rank and candidate.score <= max_score:
                seen_items |= items
                chosen.append(replace(candidate.side, instruction=pair.positive.instruction))
        return tuple(
            chosen
        ), ALL_ABOVE_MAX_SCORE if rank >= selection.first_rank else TOO_FEW_DOCUMENTS

    def _duplicates_positive(self, candidate: Candidate, positive_rows: list[int]) -> bool:
        """Whether it is a near-duplicate of one of the query's positives."""
        return bool((self._positives[positive_rows] @ candidate.vector).max() >= DUPLICATE_COSINE)


def _max_negative_score(positive_score: float, max_positive_ratio: float) -> float:
    """The highest score of a negative; below zero, too, it is less than the positive's."""
    return positive_score - abs(positive_score) * (1 - max_positive_ratio)


def _embed_queries(sides: Sequence[Side], embed: EmbedSides) -> Vectors:
    """(n, dim): equal queries are embedded once."""
    places = {side: place for place, side in enumerate(dict.fromkeys(sides))}
    rows = embed(list(places), "query")
    return rows[[places[side] for side in sides]]


def _embed_positives(
    sides: Sequence[Side], embed: EmbedSides, indexes: Sequence[CandidateIndex]
) -> Vectors:
    """(n, dim): as a pool has them, else embedded."""
    found: dict[int, Vector] = {}
    for index in indexes:
        found |= index.lookup_vectors(sides)
    missing = list(dict.fromkeys(side for i, side in enumerate(sides) if i not in found))
    embedded = dict(zip(missing, embed(missing, "document"), strict=True)) if missing else {}
    return np.stack([found[i] if i in found else embedded[side] for i, side in enumerate(sides)])
