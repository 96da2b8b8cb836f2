"""Searches a collection by text in any language, images, points, or all of them together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from embedder import Embedder, EmbeddingModel
from embedder.types import Translation
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import FACETS, IMAGE, TEXT
from indexer.errors import StoreError
from indexer.search.calibration import CalibrationSampler
from indexer.search.duplicates import group_duplicates
from indexer.search.explanation import explain_candidate
from indexer.search.filter_checks import check_columns, explain_filters
from indexer.search.filters import build_store_filter
from indexer.search.folders import expand_folders
from indexer.search.image_signature import SIGNATURE
from indexer.search.query_examples import QueryExamples
from indexer.search.reference_scores import ReferenceScorer
from indexer.search.regions import locate_texts
from indexer.search.retrieval import (
    Candidate,
    Candidates,
    EmbeddedQuery,
    embed_query,
    find_unwanted,
    retrieve_candidates,
)
from indexer.search.sorting import PointLister, make_sort_key
from indexer.search.strength import (
    count_strong,
    judge_matches,
    put_strongest_first,
    rate_hits,
)
from indexer.types import (
    MATCH_WORDS,
    Filters,
    Hit,
    Payload,
    Query,
    QueryMatch,
    Record,
    SearchResults,
    Vector,
)

if TYPE_CHECKING:
    from qdrant_client import models

MIN_CANDIDATES = 100  # per channel
MAX_UNWANTED = 1000  # points that a query of unwanted parts alone leaves out, per channel
SORTED_HITS = 200  # that are sorted by date or name, where it is not known which ones match
MAX_SORTED = 1000  # that are, where it is known
NEAREST_HITS = 20  # that are, where none matches
MIN_MMR_POOL = 100  # candidates to diversify
MIN_EXAMPLE_POOL = 32  # candidates among which the examples of the query are


@dataclass(slots=True, kw_only=True)
class RankedRecord:
    """A candidate with its point, and the ids of its lower-ranked duplicates."""

    candidate: Candidate
    record: Record
    vector: Vector  # of its image, or of its text
    duplicates: list[str] = field(default_factory=list)
    query_match: QueryMatch | None = None


class Searcher:
    """Searches one collection. Thread-safe; the model loads when a query first needs it."""

    def __init__(self, collection: OpenCollection, embedder: Callable[[], Embedder]) -> None:
        self.collection, self._store, self._embedder = collection, collection.store, embedder
        on_server = collection.active_index.server_collection
        info = on_server and on_server.info
        self._sampler = CalibrationSampler(
            collection.store,
            [name for name, _ in collection.active_index.schema.dense],
            collection.card.dim,
            collection.index_dir if info else None,
            # a tenant sees a share of the points, which only counting tells
            info.points_count if info and not collection.tenant else None,
        )
        self._reference = ReferenceScorer(collection, embedder)
        self._lister = PointLister(collection.store)
        self._known_columns: set[str] = set()

    def search(self, query: Query) -> SearchResults:
        """Find one page of hits; a query without parts lists the points, by id if not sorted.

        Raises `QueryError`, `StoreError`, `EmbedderError`.
        """
        start = time.perf_counter()
        if query.limit <= 0:
            return SearchResults((), 0.0, matches=None, has_more=False)
        store_filter = self._build_filter(query.filters)  # may fail; loading a model takes long
        search = self._search_parts if query.parts else self._list_points
        found = search(query, store_filter)
        took_ms = round((time.perf_counter() - start) * 1e3, 2)
        hint = ""
        if query.filters and not query.offset:
            with suppress(StoreError):  # a key that may not be counted by
                hint = explain_filters(self._store, query.filters, is_empty=not found.hits)
        return replace(found, took_ms=took_ms, hint=hint)

    def find_translation(self, text: str) -> Translation | None:
        """How the model reads a text; see `EmbeddingModel.find_translation`."""
        model = self._embedder()
        return model.find_translation(text) if isinstance(model, EmbeddingModel) else None

    def locate(self, texts: Sequence[str], image: Image) -> NDArray[np.float64]:
        """Say where an image shows what texts ask for; see `locate_texts`."""
        return locate_texts(self._embedder(), texts, image)

    def count(self, filters: Filters | None = None) -> int:
        """Count the points that pass the filters."""
        return self._store.count(self._build_filter(filters) if filters else None)

    def facets(
        self, filters: Filters | None = None, limit: int = 20, keys: Sequence[str] = FACETS
    ) -> dict[str, list[tuple[str, int]]]:
        """Count the most common values of each facet, under the filters of the other facets."""
        filters = filters or {}
        self._build_filter(filters)
        counts = {}
        filters = expand_folders(self._store, filters)
        for key in keys:
            own = {key: replace(filters[key], any_of=())} if key in filters else {}
            where = build_store_filter({**filters, **own})
            counts[key] = self._store.facet(key, where, limit)
        return {key: values for key, values in counts.items() if values}

    def _build_filter(self, filters: Filters) -> models.Filter | None:
        """Raises `QueryError` for a key that no point has too."""
        store_filter = build_store_filter(expand_folders(self._store, filters))
        check_columns(self._store, filters.keys() - self._known_columns)
        self._known_columns |= filters.keys()
        return store_filter

    def _search_parts(self, query: Query, store_filter: models.Filter | None) -> SearchResults:
        sample = self._sampler()
        has_model = not all(part.id for part in query.parts)
        reference = self._reference(sample, has_model=has_model)  # first: it measures no more now
        embedded = embed_query(query.parts, self._embedder, self._store, sample, query.instruction)
        if not embedded.wanted:
            return self._list_the_rest(query, embedded, store_filter)
        end = query.offset + query.limit
        is_sorted = query.sort != "strength"
        depth = 10 * SORTED_HITS if is_sorted else max(MIN_CANDIDATES, 10 * end)
        found = retrieve_candidates(self._store, embedded, store_filter, depth)
        parts = [one.part for one in embedded.wanted]
        rated = np.full(len(found), np.nan)
        if reference is not None and not query.instruction:
            model = self._embedder() if has_model else None
            knows = model if isinstance(model, EmbeddingModel) else None
            rated = rate_hits(parts, [one.channels for one in found.wanted], reference, knows)
            order = put_strongest_first(rated)
            found, rated = found.select(order), rated[order]
        matches = judge_matches(rated)
        num_strong = count_strong(rated, parts, self.collection.card.name, depth)
        strengths = dict(zip(found.ids, rated.tolist(), strict=True))
        chosen = np.flatnonzero(~(rated < query.min_strength))
        if is_sorted:
            chosen = _choose_sorted(found.z, rated, chosen, matches)
        found = found.select(chosen)
        vectors = [(one.part, one.vector) for one in (*embedded.wanted, *embedded.unwanted)]
        examples = QueryExamples(query.parts, vectors, sample.crop_cosine)
        limit = len(found) if is_sorted else end + 1
        page = self._rerank(found, query, limit, examples, sample.crop_cosine)
        if is_sorted:
            page.sort(key=lambda i: make_sort_key(query.sort, i.record.id, i.record.payload))
        hits = [
            _make_hit(
                item,
                embedded,
                found.dropped,
                1.0 if item.query_match else strengths[item.candidate.id],
            )
            for item in page[query.offset : end]
        ]
        if any(item.query_match for item in page):
            matches = True
        return SearchResults(
            tuple(hits),
            0.0,
            matches,
            len(page) > end,
            total=len(page) if is_sorted else None,
            num_strong=num_strong,
        )

    def _list_the_rest(
        self, query: Query, embedded: EmbeddedQuery, where: models.Filter | None
    ) -> SearchResults:
        """A page of the points that do not show what is unwanted."""
        from qdrant_client import models

        unwanted = find_unwanted(self._store, embedded, where, MAX_UNWANTED)
        others = models.Filter(must_not=[models.HasIdCondition(has_id=[*unwanted])])
        rest = models.Filter(must=[where, others]) if where else others
        return self._list_points(query, rest)

    def _rerank(
        self,
        found: Candidates,
        query: Query,
        limit: int,
        examples: QueryExamples,
        crop_cosine: float,
    ) -> list[RankedRecord]:
        """Load as many candidates as it takes to fill `limit` places after grouping duplicates."""
        depth = max(2 * limit, MIN_MMR_POOL) if query.diversity > 0 else limit + limit // 2
        depth = max(depth, MIN_EXAMPLE_POOL) if examples else depth
        while True:
            loaded = self._load(found.list_first(depth))
            first, others = _separate_examples(loaded, examples)
            kept = _group(first + others, crop_cosine) if query.group_duplicates else first + others
            if len(kept) >= limit or depth >= len(found):
                break
            depth *= 2
        num_first = sum(item.query_match == "same" for item in kept[: len(first)])
        return [*kept[:num_first], *mmr(kept[num_first:], query.diversity)]

    def _load(self, ranked: Sequence[Candidate]) -> list[RankedRecord]:
        """Those that still exist. Takes one request."""
        found = self._store.retrieve([one.id for one in ranked], vectors=(IMAGE, TEXT))
        records = {record.id: record for record in found}
        loaded = []
        for candidate in ranked:
            if record := records.get(candidate.id):
                vector = record.vectors.get(IMAGE, record.vectors.get(TEXT))
                dense = np.asarray(vector, dtype=np.float32)
                loaded.append(RankedRecord(candidate=candidate, record=record, vector=dense))
        return loaded

    def _list_points(self, query: Query, where: models.Filter | None) -> SearchResults:
        page, more = self._lister.list_page(query.sort, where, query.offset, query.limit)
        hits = tuple(
            Hit(r.id, 0.0, _shown(r.payload), {}, signature=r.payload.get(SIGNATURE)) for r in page
        )
        return SearchResults(hits, 0.0, None, more)


def _choose_sorted(
    z: NDArray[np.float64],
    strengths: NDArray[np.float64],
    rows: NDArray[np.intp],
    matches: bool | None,
) -> NDArray[np.intp]:
    """Those of the ranked `rows` that are worth another order than that of their ranks.

    Among all points, what the query asks for would be hard to find by its date. So these are the
    likely hits, or those that stand out from unrelated points half as far as the best one.
    """
    if matches:
        return rows[strengths[rows] >= MATCH_WORDS["likely"]][:MAX_SORTED]
    best = z[rows[:1]]
    standing_out = rows[z[rows] >= np.minimum(best, best / 2)] if len(best) else rows
    return standing_out[: SORTED_HITS if matches is None else NEAREST_HITS]


def _make_hit(
    found: RankedRecord, query: EmbeddedQuery, dropped: Sequence[int], strength: float
) -> Hit:
    """Make the hit, with the scores and the explanation of each part."""
    candidate, payload = found.candidate, found.record.payload
    explanation = explain_candidate(candidate, query, dropped, payload)
    parts: list[Payload] = [
        {
            "label": one.part.label,
            "weight": one.part.weight,
            "score": round(float(np.dot(one.vector, found.vector)), 4),
            "share": part.share,
        }
        for one, part in zip(query.wanted, explanation.parts, strict=True)
    ]
    parts += [
        {"label": one.part.label, "weight": one.part.weight, "removed": count}
        for one, count in zip(query.unwanted, dropped, strict=True)
    ]
    channels: dict[str, float] = {}
    for own in candidate.wanted:
        for name, score in own.channel_scores.items():
            channels[name] = max(channels.get(name, -1.0), round(score, 4))
    return Hit(
        found.record.id,
        round(candidate.score, 4),
        _shown(payload),
        {"parts": parts, "channels": channels},
        tuple(found.duplicates),
        found.query_match,
        explanation,
        None if math.isnan(strength) else strength,
        payload.get(SIGNATURE),
    )


def _shown(payload: Payload) -> Payload:
    return {key: value for key, value in payload.items() if key != SIGNATURE}


def _separate_examples(
    ranked: Sequence[RankedRecord], examples: QueryExamples
) -> tuple[list[RankedRecord], list[RankedRecord]]:
    """Mark the hits that the query is made of, and take them out: they come first."""
    first: list[RankedRecord] = []
    others: list[RankedRecord] = []
    matches = examples.match([r.record for r in ranked], [r.vector for r in ranked])
    for place, (item, match) in enumerate(zip(ranked, matches, strict=True)):
        item.query_match = match
        # the pages agree on what is first: they load different numbers of candidates
        (first if match == "same" and place < MIN_EXAMPLE_POOL else others).append(item)
    return first, others


def _group(ranked: Sequence[RankedRecord], crop_cosine: float) -> list[RankedRecord]:
    """The hits without near-duplicates of better ones, which list them."""
    if not ranked:
        return []
    payloads = [item.record.payload for item in ranked]
    vectors = np.stack([item.vector for item in ranked])
    leaders = group_duplicates(payloads, vectors, crop_cosine)
    for row, leader in enumerate(leaders):
        if leader != row:
            ranked[leader].duplicates.append(ranked[row].record.id)
    return [item for row, item in enumerate(ranked) if leaders[row] == row]


def mmr(ranked: Sequence[RankedRecord], diversity: float) -> list[RankedRecord]:
    """Order by maximal marginal relevance (Carbonell and Goldstein 1998).

    The next one is argmax (1 - diversity) * score - diversity * max cosine with those chosen, with
    scores scaled to [0, 1] over the candidates.
    """
    if diversity <= 0 or len(ranked) < 3:
        return list(ranked)
    vectors = np.stack([item.vector for item in ranked])  # (n, dim)
    z = np.array([item.candidate.z for item in ranked])
    relevance = (z - z.min()) / (np.ptp(z) or 1.0)  # (n,)
    nearest = np.zeros(len(ranked))  # cosine with the nearest chosen
    remaining = np.ones(len(ranked), dtype=bool)
    order = []
    for _ in ranked:
        gain = np.where(remaining, (1 - diversity) * relevance - diversity * nearest, -np.inf)
        best = int(np.argmax(gain))
        order.append(best)
        remaining[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return [ranked[i] for i in order]
