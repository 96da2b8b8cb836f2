"""Searches a collection by text in any language, images, points, or all of them together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from embedder import Embedder
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import FACETS, IMAGE, TEXT
from indexer.search.calibration import CalibrationSampler, is_significant
from indexer.search.filters import build_store_filter
from indexer.search.query_vectors import QueryVectors, embed_query
from indexer.search.rerank import RankedRecord, group_duplicates, mmr
from indexer.search.retrieval import Candidate, retrieve_candidates
from indexer.types import Filters, Hit, Payload, Query, SearchResults

MIN_CANDIDATES = 100  # per channel
MIN_MMR_POOL = 100  # candidates to diversify


class Searcher:
    """Searches one collection. Thread-safe; the model loads when a query first needs it."""

    def __init__(self, collection: OpenCollection, embedder: Callable[[], Embedder]) -> None:
        self._store, self._embedder = collection.store, embedder
        info = (
            collection.active_index.server_collection
            and collection.active_index.server_collection.info
        )
        self._sampler = CalibrationSampler(
            collection.store,
            collection.card.dim,
            collection.index_dir if info else None,
            # a tenant sees a share of the points, which only counting tells
            info.points_count if info and not collection.tenant else None,
        )

    def search(self, query: Query) -> SearchResults:
        """Find one page of hits; a query without parts lists the points by id.

        Raises `QueryError`, `StoreError`, `EmbedderError`.
        """
        start = time.perf_counter()
        if query.limit <= 0:
            return SearchResults((), 0.0, is_significant=True, has_more=False)
        search = self._search_parts if query.parts else self._list_points
        hits, significant, more = search(query)
        took = (time.perf_counter() - start) * 1e3
        return SearchResults(tuple(hits), round(took, 2), significant, more)

    def facets(
        self, filters: Filters | None = None, limit: int = 20
    ) -> dict[str, list[tuple[str, int]]]:
        """Count the most common values of each facet, under the filters of the other facets."""
        filters_by_key = dict(filters or {})
        counts = {}
        for key in FACETS:
            others = {k: v for k, v in filters_by_key.items() if k != key}
            counts[key] = self._store.facet(key, build_store_filter(others), limit)
        return {key: values for key, values in counts.items() if values}

    def _search_parts(self, query: Query) -> tuple[list[Hit], bool, bool]:
        sample = self._sampler()
        vectors = embed_query(
            query.parts, self._embedder, self._store, sample.vectors, query.instruction
        )
        end = query.offset + query.limit
        depth = max(MIN_CANDIDATES, 10 * end)
        store_filter = build_store_filter(query.filters) if query.filters else None
        ranked = retrieve_candidates(self._store, vectors, store_filter, depth)
        significant = bool(ranked) and is_significant(ranked[0].z, sample.points)
        page = self._rerank(ranked, query, end + 1)
        hits = [_make_hit(item, vectors) for item in page[query.offset : end]]
        return hits, significant, len(page) > end

    def _rerank(self, ranked: list[Candidate], query: Query, limit: int) -> list[RankedRecord]:
        """Load as many candidates as it takes to fill `limit` places after grouping duplicates."""
        depth = max(2 * limit, MIN_MMR_POOL) if query.diversity > 0 else limit + limit // 2
        while True:
            records = self._load_records(ranked[:depth])
            kept = group_duplicates(records) if query.group_duplicates else records
            if len(kept) >= limit or depth >= len(ranked):
                return mmr(kept, query.diversity)
            depth *= 2

    def _load_records(self, ranked: list[Candidate]) -> list[RankedRecord]:
        records = {
            record.id: record
            for record in self._store.retrieve([r.id for r in ranked], vectors=True)
        }
        return [RankedRecord(r, records[r.id]) for r in ranked if r.id in records]

    def _list_points(self, query: Query) -> tuple[list[Hit], bool, bool]:
        where = build_store_filter(query.filters)
        skip, after = query.offset, None
        while skip > 0:  # stores have no pages of ids alone
            page, after = self._store.scroll(where, limit=min(skip, 1000), after=after)
            skip -= len(page)
            if after is None:
                return [], True, False
        page, after = self._store.scroll(where, limit=query.limit, after=after)
        return [Hit(r.id, 0.0, r.payload, {}) for r in page], True, after is not None


def _make_hit(found: RankedRecord, query: QueryVectors) -> Hit:
    ranked, record = found.candidate, found.record
    explanation: Payload = {
        "parts": _explain_parts(found, query),
        "channels": {name: round(score, 4) for name, score in ranked.channel_scores.items()},
    }
    return Hit(
        record.id, round(ranked.score, 4), record.payload, explanation, tuple(found.duplicates)
    )


def _explain_parts(found: RankedRecord, query: QueryVectors) -> list[Mapping[str, object]]:
    """The influence of each part on this hit; the absolute values of the shares add up to 1."""
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
