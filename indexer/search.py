"""Answers queries over a collection: words in any language, pictures, points, or all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from embedder import Embedder
from indexer.calibration import stands_out
from indexer.collection import Collection
from indexer.composing import Composed, compose
from indexer.filters import store_filter
from indexer.folding import Found, diversify, fold
from indexer.ranking import Ranked, rank
from indexer.sample import Sampler
from indexer.schema import FACETS, IMAGE, TEXT
from indexer.types import Hit, Payload, Query, Results, Where

LEAST_DEPTH = 100  # candidates a channel
POOL = 100  # candidates that diversity chooses among, at least


class Searcher:
    """Searches one collection. Thread-safe; the model is loaded when a query first needs it."""

    def __init__(self, collection: Collection, embedder: Callable[[], Embedder]) -> None:
        self._store, self._embedder = collection.store, embedder
        self._sampler = Sampler(collection.store, collection.card.dim)

    def search(self, query: Query) -> Results:
        """One page of hits; without parts, the collection's points in the order of their ids.

        Raises `QueryError`, `StoreError`, `EmbedderError`.
        """
        start = time.perf_counter()
        if query.limit <= 0:
            return Results((), 0.0, matches=True, more=False)
        hits, matches, more = self._answer(query) if query.parts else self._browse(query)
        took = (time.perf_counter() - start) * 1e3
        return Results(tuple(hits), round(took, 2), matches, more)

    def facets(
        self, where: Where | None = None, limit: int = 20
    ) -> dict[str, list[tuple[str, int]]]:
        """The commonest values of each facet, counted under the filters of the other facets."""
        chosen = dict(where or {})
        counted = {}
        for key in FACETS:
            others = {k: v for k, v in chosen.items() if k != key}
            counted[key] = self._store.facet(key, store_filter(others), limit)
        return {key: values for key, values in counted.items() if values}

    def _answer(self, query: Query) -> tuple[list[Hit], bool, bool]:
        sample = self._sampler()
        composed = compose(
            query.parts, self._embedder, self._store, sample.vectors, query.instruction
        )
        end = query.offset + query.limit
        depth = max(LEAST_DEPTH, 10 * end)
        ranked = rank(self._store, composed, store_filter(query.where), depth)
        matches = bool(ranked) and stands_out(ranked[0].z, sample.points)
        found = self._page(ranked, query, end + 1)
        hits = [_hit(item, composed) for item in found[query.offset : end]]
        return hits, matches, len(found) > end

    def _page(self, ranked: list[Ranked], query: Query, wanted: int) -> list[Found]:
        """Read as many candidates as it takes to fill `wanted` places after folding."""
        reach = max(2 * wanted, POOL) if query.diversity > 0 else wanted + wanted // 2
        while True:
            found = self._read(ranked[:reach])
            kept = fold(found) if query.fold else found
            if len(kept) >= wanted or reach >= len(ranked):
                return diversify(kept, query.diversity)
            reach *= 2

    def _read(self, ranked: list[Ranked]) -> list[Found]:
        records = {
            record.id: record
            for record in self._store.retrieve([r.id for r in ranked], vectors=True)
        }
        return [Found(r, records[r.id]) for r in ranked if r.id in records]

    def _browse(self, query: Query) -> tuple[list[Hit], bool, bool]:
        where = store_filter(query.where)
        left, after = query.offset, None
        while left > 0:  # pages of ids alone would be better, and stores have none
            page, after = self._store.scroll(where, limit=min(left, 1000), after=after)
            left -= len(page)
            if after is None:
                return [], True, False
        page, after = self._store.scroll(where, limit=query.limit, after=after)
        return [Hit(r.id, 0.0, r.payload, {}) for r in page], True, after is not None


def _hit(found: Found, query: Composed) -> Hit:
    ranked, record = found.ranked, found.record
    why: Payload = {
        "parts": _shares(found, query),
        "channels": {name: round(score, 4) for name, score in ranked.raw.items()},
    }
    return Hit(record.id, round(ranked.score, 4), record.payload, why, tuple(found.behind))


def _shares(found: Found, query: Composed) -> list[Mapping[str, object]]:
    """How much each part has to do with this hit: `share`s add up to 1 by their sizes."""
    channel = IMAGE if IMAGE in found.record.vectors else TEXT
    cosines = [float(np.dot(part.vector, found.vector)) for part in query.parts]
    pulls = [
        part.part.weight * (cosine - query.scales[channel].middle)
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
