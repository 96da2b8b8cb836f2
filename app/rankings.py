"""The ranked hits of a query, which its pages and the counts of its filters share."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from app.caching import SharedCache
from app.services import get_decode_limits, open_searcher
from app.state import Search
from embedder import EmbedderError
from indexer.errors import IndexerError
from indexer.ingest.originals import OriginalReader
from indexer.search.rerank import HitReranker
from indexer.search.searcher import MAX_SORTED, Searcher
from indexer.types import Hit

FIRST_RANKED = 120  # hits that are ranked for a first page
MAX_RANKED = 3_000  # of a query; whoever wants more says more
MAX_RANKINGS = 8  # that are kept; a long one takes 10 MB


class RankedHits:
    """The hits of one query, ranked as far as somebody has looked. Thread-safe.

    The pages of one list agree: nothing is shown twice, or left out, because a deeper search ranks
    a little differently. Whoever comes near the end has more of them ranked meanwhile.
    """

    def __init__(
        self, search: Search, searcher: Searcher, reranker: HitReranker | None = None
    ) -> None:
        self._search, self._searcher = search, searcher
        self._lock = threading.Lock()  # of the search that ranks more
        limit = FIRST_RANKED if search.order == "strength" else MAX_SORTED
        query = search.to_query(limit=limit)
        if reranker is None:
            self.first = searcher.search(query)
        else:  # the best hits; those that are ranked later follow them
            images = OriginalReader(searcher.collection, get_decode_limits())
            self.first = reranker.search(searcher, query, images.read)
        self.hits = list(self.first.hits)  # only ever gets longer
        self._more = self.first.has_more
        # a deeper search may find a stronger hit further down: the line is drawn once
        leading = self.first.num_leading
        self.tail = leading if self.first.matches and 0 < leading < len(self.hits) else None

    def load(self, offset: int, limit: int) -> tuple[list[Hit], bool]:
        """The hits of a page, and whether there are more. Raises what a search raises."""
        end = min(offset + limit, MAX_RANKED)
        while self._more and len(self.hits) < end:
            self._rank_more(end)
        if self._more and len(self.hits) < 2 * end and not self._lock.locked():
            threading.Thread(
                target=self._rank_ahead, args=(len(self.hits) + 1,), daemon=True
            ).start()
        return self.hits[offset:end], self._more or len(self.hits) > end

    def _rank_ahead(self, wanted: int) -> None:
        with suppress(IndexerError, EmbedderError):  # whoever needs these hits gets the error
            self._rank_more(wanted)

    def _rank_more(self, wanted: int) -> None:
        """Rank twice as many hits, or `wanted`, unless another thread has done so."""
        with self._lock:
            if not self._more or len(self.hits) >= wanted:
                return
            depth = min(max(2 * len(self.hits), wanted), MAX_RANKED)
            found = self._searcher.search(self._search.to_query(limit=depth))
            shown = {id for hit in self.hits for id in (hit.id, *hit.duplicates)}
            new = [hit for hit in found.hits if hit.id not in shown]
            self.hits += new
            self._more = found.has_more and depth < MAX_RANKED and bool(new)


_rankings: SharedCache[RankedHits] = SharedCache(MAX_RANKINGS)


def make_ranking_name() -> str:
    """The name of a ranked list that nobody has asked for."""
    return f"{time.time_ns():x}"


def rank_hits(search: Search, ranking: str, reranker: HitReranker | None = None) -> RankedHits:
    """The ranked list of that name, or a new one; reranked, if there is a reranker.

    Raises:
        QueryError, StoreError, CollectionError, EmbedderError: The search failed.
    """
    searcher = open_searcher(search.collection)
    key = (search.address, reranker.name if reranker else "")
    version = (ranking, id(searcher))
    return _rankings.get(key, lambda: RankedHits(search, searcher, reranker), version)
