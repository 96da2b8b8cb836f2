"""Hard negatives: documents that a model scores high for a query and that are wrong.

Of a query's best documents, its known positives are skipped, as are documents of the same item and
near-duplicates of a positive. A document that scores almost as well as the positive is probably an
unknown positive, so a negative may score at most `max_positive_ratio` times the positive's score
(TopK-PercPos of NV-Retriever, https://arxiv.org/abs/2407.15831, with its 0.95). This limit adapts
to each query, so negatives are taken from the first rank on, as in the paper: skipping a fixed
number of ranks loses the hardest negatives of queries with one positive.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from embedder.types import Role, Vectors
from finetune.data.collection_pairs import side_from_payload
from finetune.data.pairs import ContentKeys, Pair, ProgressCallback, Side
from finetune.data.perceptual_hash import compute_hash
from indexer.collections.schema import IMAGE, TEXT
from indexer.errors import UnusableFileError
from indexer.paths import make_point_ids
from indexer.search.duplicates import ImageComparison, estimate_crop_cosine
from indexer.search.image_signature import SIGNATURE
from indexer.types import FieldFilter, Payload, Vector

if TYPE_CHECKING:
    from indexer.stores.base import Store

RETRIEVE_BATCH = 500  # points retrieved at a time
QUERY_BATCH = 64  # queries searched at a time
EXTRA_CANDIDATES = 16  # beyond the last rank, as near-duplicates are skipped
MAX_CANDIDATES = 1000  # of a query, however many positives it has
TOO_FEW_DOCUMENTS = "there are too few other documents"
ALL_ABOVE_MAX_SCORE = "all candidates score above the ceiling"

EmbedSides = Callable[[Sequence[Side], Role], Vectors]
"""Embeds sides as (n, dim) rows of unit norm."""


class Candidate(NamedTuple):
    """A document, its cosine with the query, and its vector."""

    side: Side
    score: float
    vector: Vector


class CandidateIndex(Protocol):
    """Documents to search for negatives."""

    def lookup_vectors(self, sides: Sequence[Side]) -> dict[int, Vector]:
        """Return the vectors of the sides in the index, by their position in `sides`."""
        ...

    def search(
        self, queries: Vectors, has_image: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        """Return the best documents of each query (n, dim), best first.

        They are documents with an image where `has_image` is set, else documents without.
        """
        ...


class DocumentIndex:
    """Documents in memory; each content is embedded once."""

    def __init__(self, sides: Sequence[Side], embed: EmbedSides, content_keys: ContentKeys) -> None:
        self._content_keys = content_keys
        distinct: dict[int, Side] = {}
        for side in sides:
            distinct.setdefault(content_keys.hash_side(side), side)
        self._sides = list(distinct.values())
        self._rows = {key: row for row, key in enumerate(distinct)}
        self._vectors = embed(self._sides, "document")  # (m, dim)
        self._has_image = np.array([bool(side.image) for side in self._sides], dtype=bool)

    def lookup_vectors(self, sides: Sequence[Side]) -> dict[int, Vector]:
        keys = map(self._content_keys.hash_side, sides)
        rows = {i: self._rows[key] for i, key in enumerate(keys) if key in self._rows}
        return {i: self._vectors[row] for i, row in rows.items()}

    def search(
        self, queries: Vectors, has_image: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        if not self._sides:
            return [[] for _ in queries]
        scores = queries @ self._vectors.T  # (n, m)
        scores[np.array(has_image)[:, None] != self._has_image[None]] = -np.inf
        return [
            [
                Candidate(self._sides[i], float(row[i]), self._vectors[i])
                for i in _top_rows(row, limit)
            ]
            for row in scores
        ]


class CollectionIndex:
    """A collection's images and passages, with the vectors in its store."""

    def __init__(self, store: Store, content_keys: ContentKeys) -> None:
        self._store, self._content_keys = store, content_keys

    def lookup_vectors(self, sides: Sequence[Side]) -> dict[int, Vector]:
        """Return vectors of images only: the store embeds captions separately."""
        rows_by_id: dict[str, list[int]] = defaultdict(list)
        for row, side in enumerate(sides):
            if side.image and not side.text:
                rows_by_id[make_point_ids(self._content_keys.hash_file(side.image))[0]].append(row)
        found: dict[int, Vector] = {}
        ids = list(rows_by_id)
        for start in range(0, len(ids), RETRIEVE_BATCH):
            for record in self._store.retrieve(ids[start : start + RETRIEVE_BATCH], vectors=True):
                vector = np.asarray(record.vectors[IMAGE], np.float32)
                found |= dict.fromkeys(rows_by_id[record.id], vector)
        return found

    def search(
        self, queries: Vectors, has_image: Sequence[bool], limit: int
    ) -> list[list[Candidate]]:
        from qdrant_client import models

        from indexer.search.filters import build_store_filter

        channels = [(IMAGE, "image") if wanted else (TEXT, "text") for wanted in has_image]
        requests = [
            models.QueryRequest(
                query=query.tolist(),
                using=channel,
                filter=build_store_filter({"kind": FieldFilter((kind,))}),
                limit=limit,
                with_payload=True,
                with_vector=[channel],
            )
            for query, (channel, kind) in zip(queries, channels, strict=True)
        ]
        answers = self._store.query_batch(requests)
        return [
            [
                Candidate(side, point.score, np.asarray(point.vectors[channel], np.float32))
                for point in points
                if (side := side_from_payload(point.payload or {})) is not None
            ]
            for points, (channel, _) in zip(answers, channels, strict=True)
        ]


def _top_rows(scores: Vector, limit: int) -> list[int]:
    """Return the indices of the highest finite scores (m,), highest first."""
    limit = min(limit, len(scores))
    top = np.argpartition(-scores, limit - 1)[:limit]
    best: list[int] = top[np.lexsort((top, -scores[top]))].tolist()
    return [row for row in best if np.isfinite(scores[row])]


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativeSelection:
    """Which candidates become negatives: their ranks (1 is the best) and their maximum score."""

    first_rank: int = 1
    last_rank: int = 50
    max_positive_ratio: float = 0.95  # of the positive's score
    per_pair: int = 1


@dataclass(frozen=True, slots=True)
class MinedPairs:
    """Pairs with the new negatives after their own, the number of new negatives, and the number of
    pairs without new ones by reason."""

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
    """Find hard negatives for each pair.

    Args:
        pairs: The pairs to find negatives for.
        embed: Embeds queries and documents.
        indexes: The documents to search.
        selection: Which candidates become negatives.
        content_keys: Caches the images' content.
        excluded: Sides that must not become negatives.
        on_progress: Called with the number of finished pairs and their total.

    Raises:
        DataError: An image cannot be read.
        EmbedderError: A side cannot be embedded.
        StoreError: The collection cannot be searched.
    """
    miner = _Miner(pairs, embed, indexes, selection, content_keys or ContentKeys(), excluded)
    out: list[Pair] = []
    without: Counter[str] = Counter()
    found = 0
    for start in range(0, len(pairs), QUERY_BATCH):
        rows = range(start, min(start + QUERY_BATCH, len(pairs)))
        for row, candidates in zip(rows, miner.find_candidates(rows), strict=True):
            chosen, reason = miner.select_negatives(row, candidates)
            found += len(chosen)
            if not chosen:
                without[reason] += 1
            out.append(replace(pairs[row], negatives=pairs[row].negatives + chosen))
        on_progress(rows.stop, len(pairs))
    return MinedPairs(out, found, without)


class _Miner:
    """The keys and vectors of all pairs, and the selection for each."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        embed: EmbedSides,
        indexes: Sequence[CandidateIndex],
        selection: NegativeSelection,
        content_keys: ContentKeys,
        excluded: Iterable[Side],
    ) -> None:
        self._pairs, self._indexes, self._selection = pairs, indexes, selection
        self._hash_side = content_keys.hash_side
        self._excluded_keys = frozenset(map(self._hash_side, excluded))
        self._items = [content_keys.item_of(pair) for pair in pairs]
        self._query_keys = [self._hash_side(pair.query) for pair in pairs]
        self._positive_keys = [self._hash_side(pair.positive) for pair in pairs]
        self._rows_by_query: dict[int, list[int]] = defaultdict(list)
        self._items_by_document: dict[int, set[str]] = defaultdict(set)
        for row in range(len(pairs)):
            self._rows_by_query[self._query_keys[row]].append(row)
            self._items_by_document[self._positive_keys[row]].add(self._items[row])
        distinct = {pair.query: None for pair in pairs}
        queries = dict(zip(distinct, embed(list(distinct), "query"), strict=True))
        self._queries = np.stack([queries[pair.query] for pair in pairs])  # (n, dim)
        self._positives = self._lookup_positives(embed)  # (n, dim)
        images = [row for row, pair in enumerate(pairs) if pair.positive.image]
        self._crop_cosine = estimate_crop_cosine(self._positives[images])
        self._payloads: dict[str, Payload] = {}  # of images, by their paths

    def _lookup_positives(self, embed: EmbedSides) -> Vectors:
        """Return (n, dim) vectors from the indexes, or embedded if they have none."""
        sides = [pair.positive for pair in self._pairs]
        found: dict[int, Vector] = {}
        for index in self._indexes:
            found |= index.lookup_vectors(sides)
        missing = list(dict.fromkeys(side for i, side in enumerate(sides) if i not in found))
        embedded = dict(zip(missing, embed(missing, "document"), strict=True)) if missing else {}
        return np.stack([found[i] if i in found else embedded[s] for i, s in enumerate(sides)])

    def _is_copy(self, candidate: Candidate, positive_rows: Sequence[int]) -> bool:
        """Whether it is a near-duplicate of one of the positives at `positive_rows`."""
        positives = [self._pairs[row].positive for row in positive_rows]
        payloads = [*map(self._describe, positives), self._describe(candidate.side)]
        vectors = np.vstack([self._positives[positive_rows], candidate.vector])
        last = len(positives)
        comparison = ImageComparison(payloads, vectors, self._crop_cosine)
        return bool(comparison.compare(slice(last, last + 1), slice(0, last))[0].any())

    def _describe(self, side: Side) -> Payload:
        """The signature of an image, as payloads have it; nothing for others."""
        if not side.image or side.text:
            return {}
        if side.image not in self._payloads:
            try:
                self._payloads[side.image] = {SIGNATURE: compute_hash(side.image).signature}
            except UnusableFileError:
                self._payloads[side.image] = {}
        return self._payloads[side.image]

    def find_candidates(self, rows: range) -> list[list[Candidate]]:
        """Return the candidates of each pair from all indexes, best first."""
        queries = self._queries[rows.start : rows.stop]
        has_image = [bool(self._pairs[row].positive.image) for row in rows]
        positive_count = max(len(self._rows_by_query[self._query_keys[row]]) for row in rows)
        last = self._selection.last_rank
        limit = min(last + positive_count + EXTRA_CANDIDATES, max(MAX_CANDIDATES, last))
        answers = [index.search(queries, has_image, limit) for index in self._indexes]
        merged = [[c for found in row for c in found] for row in zip(*answers, strict=True)]
        return [sorted(row, key=lambda candidate: -candidate.score) for row in merged]

    def select_negatives(
        self, row: int, candidates: Sequence[Candidate]
    ) -> tuple[tuple[Side, ...], str]:
        """Return the negatives of a pair, and the reason if there are none."""
        pair, selection = self._pairs[row], self._selection
        positive_score = float(self._queries[row] @ self._positives[row])
        # below zero, too, this is less than the positive's score
        max_score = positive_score - abs(positive_score) * (1 - selection.max_positive_ratio)
        positive_rows = self._rows_by_query[self._query_keys[row]]
        excluded = {self._positive_keys[p] for p in positive_rows}
        excluded |= {self._hash_side(side) for side in pair.negatives}
        excluded |= {self._query_keys[row]} | self._excluded_keys
        seen_items = {self._items[row]}  # and those of the chosen: one negative an item
        chosen: list[Side] = []
        rank = 0
        for candidate in candidates:
            key = self._hash_side(candidate.side)
            items = self._items_by_document.get(key, set())
            if key in excluded or items & seen_items or self._is_copy(candidate, positive_rows):
                continue
            excluded.add(key)
            rank += 1
            if rank > selection.last_rank or len(chosen) == selection.per_pair:
                break
            if rank >= selection.first_rank and candidate.score <= max_score:
                seen_items |= items
                chosen.append(candidate.side.with_instruction_of(pair.positive))
        reason = ALL_ABOVE_MAX_SCORE if rank >= selection.first_rank else TOO_FEW_DOCUMENTS
        return tuple(chosen), reason
