"""The JSON routes that the app's own pages ask: hits, items, votes, tags and uploads.

The parameters of a search are those of the page's address (`app.state`). Each answer is a JSON
object; one with an error has its sentence under `error`. `app.access` guards the routes: Host,
Origin and login.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app import items, results, votes
from app.facets import describe_facets, describe_values
from app.file_manager import can_reveal
from app.json_routes import (
    BAD_JSON,
    MAX_ITEMS,
    MAX_SELECTION_BYTES,
    Json,
    RequestError,
    answer_with,
    parse_search,
    read_body,
)
from app.media import read_original, save_upload
from app.saved_searches import count_new
from app.services import change_tags, find_facet_values, get_decode_limits, open_searcher
from embedder.errors import UnusableFileError
from embedder.images.decode import decode_image
from indexer.collections.schema import FACETS
from indexer.search.dates import parse_time


def build_routes() -> Sequence[BaseRoute]:
    return [
        Route("/api/search", answer_with(search)),
        Route("/api/items/{collection}/{id}", answer_with(load_item)),
        Route("/api/regions/{collection}/{id}", answer_with(find_regions)),
        Route("/api/facets", answer_with(find_values)),
        Route("/api/new", answer_with(find_new)),
        Route("/api/votes", receive_votes, methods=["POST"]),
        Route("/api/tags", receive_tags, methods=["POST"]),
        Route("/api/uploads", receive_upload, methods=["POST"]),
    ]


def search(request: Request) -> Json:
    """`GET /api/search?c=...&query=...&offset=60&limit=60&ranking=...`: a page of hits.

    With `reranked=1`, the best hits are in the order of the reranker that is set.
    """
    wanted, params = parse_search(request), request.query_params
    offset = _parse_count(params.get("offset") or "0", "offset", 10_000_000)
    limit = _parse_count(params.get("limit") or str(results.PAGE_SIZE), "limit", None)
    limit = min(max(limit, 1), results.MAX_PAGE_SIZE)
    ranking, reranked = params.get("ranking") or None, params.get("reranked") == "1"
    return results.load_page(wanted, offset, limit, ranking, reranked=reranked).to_json()


def load_item(request: Request) -> Json | None:
    """`GET /api/items/COLLECTION/ID?query=...`: one item, and why the query finds it."""
    id, name = _parse_id(request), request.path_params["collection"]
    if id is None:
        return None
    item = items.describe_item(parse_search(request, name), id)
    return item and item | {"can_reveal": can_reveal(request)}


def find_regions(request: Request) -> Json | None:
    """`GET /api/regions/COLLECTION/ID?query=...`: where the words of the query are in an image."""
    name, id = request.path_params["collection"], _parse_id(request)
    wanted = parse_search(request, name)
    texts = [term.text for term in wanted.terms if term.text and term.weight > 0]
    if not texts:
        raise RequestError("A region is where an image shows the words of a query.")
    data = read_original(name, id) if id else None
    if data is None:
        return None
    searcher = open_searcher(name)
    side = searcher.collection.card.image_side
    try:
        image = decode_image(data, side=side, limits=get_decode_limits()).image
    except UnusableFileError:
        return None
    return {"regions": searcher.locate(texts, image).round(3).tolist()}


def find_values(request: Request) -> Json:
    """`GET /api/facets?c=...&query=...&ranking=...`: the facets of a search.

    With `key=folder&contains=rom`: the values of one of them that have that text.
    """
    wanted, params = parse_search(request), request.query_params
    if "key" not in params:
        searcher = open_searcher(wanted.collection)
        return describe_facets(wanted, searcher, params.get("ranking"))
    key, text = params.get("key", ""), params.get("contains", "")
    if key not in FACETS:
        raise RequestError(f"key is one of {', '.join(FACETS)}.")
    values = find_facet_values(wanted.filters, open_searcher(wanted.collection), key, text)
    return {"values": describe_values(key, values)}


def find_new(request: Request) -> Json:
    """`GET /api/new?c=...&query=...&since=2026-11-29T08:30:00+00:00`: how many items are newer."""
    since = parse_time(request.query_params.get("since"))
    if since is None:
        raise RequestError("since is a date and a time.")
    return {"count": count_new(parse_search(request), since)}


async def receive_votes(request: Request) -> Response:
    """`POST /api/votes?c=...&query=...` with `{"votes": {ID: 1, 0 or -1}}`; 0 takes one back."""
    body = await read_body(request, MAX_SELECTION_BYTES)

    def record(request: Request) -> Json | None:
        wanted = parse_search(request)
        try:
            cast = json.loads(body or b"")["votes"].items()
            given = {str(uuid.UUID(id)): vote for id, vote in cast}
        except BAD_JSON:
            given = {}
        if not given or not wanted.terms or not set(given.values()) <= {1, 0, -1}:
            raise RequestError("A vote has a search, the id of an item, and 1, 0 or -1.")
        records = open_searcher(wanted.collection).collection.store.retrieve([*given])
        votes.record_votes(wanted, [(found, given[found.id]) for found in records])
        return {"votes": {found.id: given[found.id] for found in records}} if records else None

    return await run_in_threadpool(answer_with(record), request)


async def receive_tags(request: Request) -> Response:
    """`POST /api/tags?c=...` with `{"ids": [...], "add": [...], "remove": [...]}`.

    Answers with the ids of the items that were `changed`: the opposite request with them undoes it.
    """
    body = await read_body(request, MAX_SELECTION_BYTES)

    def change(request: Request) -> Json:
        name = parse_search(request).collection
        try:
            given = json.loads(body or b"")
            ids = [str(uuid.UUID(id)) for id in given["ids"]]
            add, remove = (list(map(_parse_tag, given.get(key, ()))) for key in ("add", "remove"))
        except BAD_JSON:
            raise RequestError("A change of tags has ids, and tags to add or remove.") from None
        if not 0 < len(ids) <= MAX_ITEMS:
            raise RequestError(f"Tags are of 1 to {MAX_ITEMS:,} items at a time.")
        return {"changed": change_tags(name, ids, add, remove)}

    return await run_in_threadpool(answer_with(change), request)


def _parse_tag(tag: object) -> str:
    if not isinstance(tag, str):
        raise TypeError(f"a tag is text, not {tag!r}")
    return tag


async def receive_upload(request: Request) -> Response:
    """`POST /api/uploads` with the bytes of an image: the name that a query calls it by."""
    limit = get_decode_limits().max_bytes
    body = await read_body(request, limit)

    def save(request: Request) -> Json:
        if body is None:
            raise RequestError(f"This file is too large: it has more than {limit:,} bytes.")
        return {"name": save_upload(body)}

    return await run_in_threadpool(answer_with(save), request)


def _parse_id(request: Request) -> str | None:
    """The id of an item in the address of a request, if it may be one."""
    try:
        return str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        return None


def _parse_count(text: str, name: str, most: int | None) -> int:
    if not text.isdecimal() or len(text) > 9 or (most is not None and int(text) > most):
        raise RequestError(f"{name} is a number.")
    return int(text)
