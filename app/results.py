"""The hits of a search as JSON for the grid of results, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from app import votes
from app.items import describe_hit
from app.json_routes import Json
from app.rankings import make_ranking_name, rank_hits
from app.services import get_settings, open_reranker, open_searcher
from app.state import Search
from embedder.cli.console import pluralize
from indexer.errors import MissingIndexError
from indexer.search.explanation import format_reranking
from indexer.types import SearchResults

PAGE_SIZE = 60
MAX_PAGE_SIZE = 1_000
NEAREST_HITS = 20  # that are shown at first where nothing matches
TAIL_HEADING = "Less likely"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of the grid.

    Attributes:
        hits: What the grid shows of each hit.
        headings: Lines between the hits: index in the whole list -> text.
        more: Whether there is a next page.
        is_paused: Whether it is shown on demand alone, as what follows is less and less alike.
        ranking: Names the ranked list that the next pages are of.
        results: What the search answered, of the first page.
    """

    hits: list[Json]
    headings: Mapping[int, str]
    more: bool
    is_paused: bool
    ranking: str
    results: SearchResults

    def to_json(self) -> Json:
        """What the grid reads."""
        return {
            "hits": self.hits,
            "headings": {str(index): text for index, text in self.headings.items()},
            "more": self.more,
            "paused": self.is_paused,
            "ranking": self.ranking,
            "reranking": describe_reranking(self.results),
        }


def load_page(
    search: Search,
    offset: int = 0,
    limit: int = PAGE_SIZE,
    ranking: str | None = None,
    *,
    reranked: bool = False,
) -> Page:
    """Search, or continue the list of an earlier search.

    Args:
        search: What is looked for.
        offset: Hits before the page.
        limit: Hits of the page.
        ranking: That of the first page; None searches anew.
        reranked: Have the reranker of the settings put the best hits in order, which takes long;
            without one, the list is as it is.

    Raises:
        QueryError, StoreError, CollectionError, EmbedderError: The search failed.
    """
    ranking = ranking or make_ranking_name()
    headings: dict[int, str] = {}
    is_paused = False
    if search.terms:
        ranked = rank_hits(search, ranking, open_reranker() if reranked else None)
        if ranked.first.matches is False and not offset:
            limit, is_paused = min(limit, NEAREST_HITS), True
        hits, more = ranked.load(offset, limit)
        first = ranked.first
        if ranked.tail is not None and offset <= ranked.tail < offset + limit:
            headings = {ranked.tail: TAIL_HEADING}
    else:
        searcher = open_searcher(search.collection)
        try:
            first = searcher.search(search.to_query(limit=limit, offset=offset))
        except MissingIndexError as error:
            search = replace(search, sort="strength")  # by id: any store can do that
            first = searcher.search(search.to_query(limit=limit, offset=offset))
            first = replace(first, hint=f"These are not sorted: {error}")
        hits, more = list(first.hits), first.has_more
    voted = votes.load_votes(search) if search.terms else {}
    described = [describe_hit(search, hit) | {"vote": voted.get(hit.id, 0)} for hit in hits]
    return Page(
        hits=described,
        headings=headings,
        more=more,
        is_paused=is_paused,
        ranking=ranking,
        results=first,
    )


def find_reranker(search: Search) -> str:
    """The name of the reranker that a search gets, as soon as it has put the hits in order; ""."""
    reranker = get_settings().reranker or ""
    asks = any(term.weight > 0 for term in search.terms)
    return reranker if asks and search.order == "strength" and not search.diversity else ""


def describe_reranking(found: SearchResults) -> Json | None:
    """What the reranker did with the results, with a sentence for people; None without one."""
    reranking = found.reranking
    if reranking is None:
        return None
    return asdict(reranking) | {"text": reranking.note or format_reranking(reranking)}


def describe_total(search: Search, page: Page, count: int | None) -> str:
    """Say how many there are, as far as that is known, for people.

    Args:
        search: What is shown.
        page: Its first page.
        count: Of a list without a query: how many items there are.

    Returns:
        The words; `{n}` in them stands for the number of hits that are shown.
    """
    found = page.results
    if not search.terms:
        return pluralize(count or 0, "item")
    if found.total is not None:
        if found.matches:
            return f"{pluralize(found.total, 'likely result')}; weaker ones are left out"
        return f"The {'best' if found.matches is None else 'closest'} {found.total:,}"
    if found.matches is False:
        return "The closest {n}"
    if found.num_strong:
        return f"About {pluralize(found.num_strong, 'strong result')}"
    return "The best {n}" if page.more else "{n} results"


def list_readings(search: Search) -> list[Json]:
    """How the model reads the words of a query that are not English, for people to check."""
    if not search.terms:
        return []
    searcher = open_searcher(search.collection)
    found = (searcher.find_translation(term.text) for term in search.terms if term.text)
    return [asdict(one) for one in found if one and one.languages != ("en",)]
