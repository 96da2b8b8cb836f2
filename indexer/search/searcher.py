"""Answers queries over a collection: words in any language, pictures, points, or all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from embedder import Embedder
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import FACETS, IMAGE, TEXT
from indexer.search.calibration import is_significant
from indexer.search.calibration_sample import CalibrationSampler
from indexer.search.filters import build_store_filter
from indexer.search.query_vectors import QueryVectors, embed_query
from indexer.search.rerank import RankedRecord, group_duplicates, mmr
from indexer.search.retrieval import Candidate, retrieve_candidates
from indexer.types import Filters, Hit, Payload, Query, SearchResults

MIN_CANDIDATES = 100  # candidates a channel
MIN_MMR_POOL = 100  # candidates that diversity chooses among, at least


class Searcher:
    """Searches one collection. Thread-safe; the model is loaded when a query first needs it."""

    def __init__(self, collection: OpenCollection, embedder: Callable[[], Embedder]) -> None:
        self._store, self._embedder = collection.store, embedder
        info = collection.active_index.found and collection.active_index.found.info
        self._sampler = CalibrationSampler(
            collection.store,
            collection.card.dim,
            collection.index_dir if info else None,
            # a tenant sees a share of the points, which only counting tells
            info.points_count if info and not collection.tenant else None,
        )

    def search(self, query: Query) -> SearchResults:
        """One page of hits; without parts, the collection's points in the order of their ids.

        Raises `QueryError`, `StoreError`, `EmbedderError`.
        """
        start = time.perf_counter()
        if query.limit <= 0:
            return SearchResults((), 0.0, is_significant=True, has_more=False)
        hits, matches, more = self._search_parts(query) if query.parts else self._list_points(query)
        took = (time.perf_counter() - start) * 1e3
        return SearchResults(tuple(hits), round(took, 2), matches, more)

    def facets(
        self, filters: Filters | None = None, limit: int = 20
    ) -> dict[str, list[tuple[str, int]]]:
        """The commonest values of each facet, counted under the filters of the other facets."""
        filters_by_key = dict(filters or {})
        counts = {}
        for key in FACETS:
            others = {k: v for k, v in filters_by_key.items() if k != key}
            counts[key] = self._store.facet(key, build_store_filter(others), limit)
        return {key: values for key, values in counts.items() if values}

    def _search_parts(self, query: Query) -> tuple[list[Hit], bool, bool]:
        sample = self._sampler()
        composed = embed_query(
            query.parts, self._embedder, self._store, sample.vectors, query.instruction
        )
        end = query.offset + query.limit
        depth = max(MIN_CANDIDATES, 10 * end)
        ranked = retrieve_candidates(
            self._store, composed, build_store_filter(query.filters), depth
        )
        matches = bool(ranked) and is_significant(ranked[0].z, sample.points)
        found = self._rerank(ranked, query, end + 1)
        hits = [_make_hit(item, composed) for item in found[query.offset : end]]
        return hits, matches, len(found) > end

    def _rerank(self, ranked: list[Candidate], query: Query, wanted: int) -> list[RankedRecord]:
        """Read as many candidates as it takes to fill `wanted` places after folding."""
        reach = max(2 * wanted, MIN_MMR_POOL) if query.diversity > 0 else wanted + wanted // 2
        while True:
            found = self._load_records(ranked[:reach])
            kept = group_duplicates(found) if query.group_duplicates else found
            if len(kept) >= wanted or reach >= len(ranked):
                return mmr(kept, query.diversity)
            reach *= 2

    def _load_records(self, ranked: list[Candidate]) -> list[RankedRecord]:
        records = {
            record.id: record
            for record in self._store.retrieve([r.id for r in ranked], vectors=True)
        }
        return [RankedRecord(r, records[r.id]) for r in ranked if r.id in records]

    def _list_points(self, query: Query) -> tuple[list[Hit], bool, bool]:
        where = build_store_filter(query.filters)
        left, after = query.offset, None
        while left > 0:  # pages of ids alone would be better, and stores have none
            page, after = self._store.scroll(where, limit=min(left, 1000), after=after)
            left -= len(page)
            if after is None:
                return [], True, False
        page, after = self._store.scroll(where, limit=query.limit, after=after)
        return [Hit(r.id, 0.0, r.payload, {}) for r in page], True, after is not None


def _make_hit(found: RankedRecord, query: QueryVectors) -> Hit:
    ranked, record = found.candidate, found.record
    why: Payload = {
        "parts": _explain_parts(found, query),
        "channels": {name: round(score, 4) for name, score in ranked.channel_scores.items()},
    }
    return Hit(record.id, round(ranked.score, 4), record.payload, why, tuple(found.duplicates))


def _explain_parts(found: RankedRecord, query: QueryVectors) -> list[Mapping[str, object]]:
    """How much each part has to do with this hit: `share`s add up to 1 by their sizes."""
    channel = IMAGE if IMAGE in found.record.vectors else TEXT
    cosines = [float(np.dot(part.vector, found.vector)) for part in query.parts]
    pulls = [
        part.part.weight * (cosine - query.distributions[channel].median)
        for part, cosine in zip(query.parts, cosines, strict=True)
    ]
    total = sum(abs(pull) for pull in pulls) or 1.0
    return [
        {
            "label": part.part.label,
            "weight": part.part.weight,
            "score": round(cosine, 4),
            "share": round(pull / total, 4),
        }
        for part, cosine, pull in zip(query.parts, cosines, pulls, strict=True)
    ]
