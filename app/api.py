"""The JSON routes that the app's own pages ask: hits, items, votes and uploads.

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

from app import results, votes
from app.facets import describe_values
from app.json_routes import Json, RequestError, answer_with, parse_search, read_body
from app.media import save_upload
from app.services import find_facet_values, get_decode_limits, open_searcher
from indexer.collections.schema import FACETS

MAX_VOTE_BYTES = 4096


def build_routes() -> Sequence[BaseRoute]:
    return [
        Route("/api/search", answer_with(search)),
        Route("/api/items/{collection}/{id}", answer_with(load_item)),
        Route("/api/facets", answer_with(find_values)),
        Route("/api/votes", receive_vote, methods=["POST"]),
        Route("/api/uploads", receive_upload, methods=["POST"]),
    ]


def search(request: Request) -> Json:
    """`GET /api/search?c=...&query=...&offset=60&limit=60&ranking=...`: a page of hits."""
    wanted, params = parse_search(request), request.query_params
    offset = _parse_count(params.get("offset") or "0", "offset", 10_000_000)
    limit = _parse_count(params.get("limit") or str(results.PAGE_SIZE), "limit", None)
    limit = min(max(limit, 1), results.MAX_PAGE_SIZE)
    return results.load_page(wanted, offset, limit, params.get("ranking") or None).to_json()


def load_item(request: Request) -> Json | None:
    """`GET /api/items/COLLECTION/ID?query=...`: one item, and why the query finds it."""
    try:
        id = str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        return None
    name = request.path_params["collection"]
    return results.describe_item(parse_search(request, name), id)


def find_values(request: Request) -> Json:
    """`GET /api/facets?c=...&key=folder&contains=rom`: the values of a facet with that text."""
    wanted, params = parse_search(request), request.query_params
    key, text = params.get("key", ""), params.get("contains", "")
    if key not in FACETS:
        raise RequestError(f"key is one of {', '.join(FACETS)}.")
    values = find_facet_values(wanted.filters, open_searcher(wanted.collection), key, text)
    return {"values": describe_values(key, values)}


async def receive_vote(request: Request) -> Response:
    """`POST /api/votes?c=...&query=...` with `{"id": ..., "vote": 1, 0 or -1}`."""
    body = await read_body(request, MAX_VOTE_BYTES)

    def record(request: Request) -> Json | None:
        try:
            given = json.loads(body or b"")
            id, vote = str(uuid.UUID(given["id"])), given["vote"]
        except (ValueError, KeyError, TypeError):
            raise RequestError("A vote has the id of an item, and 1, 0 or -1.") from None
        wanted = parse_search(request)
        if vote not in (1, 0, -1) or not wanted.terms:
            raise RequestError("A vote has the id of an item, and 1, 0 or -1.")
        records = open_searcher(wanted.collection).collection.store.retrieve([id])
        for found in records:
            votes.record_vote(wanted, found, vote)
        return {"vote": vote} if records else None

    return await run_in_threadpool(answer_with(record), request)


async def receive_upload(request: Request) -> Response:
    """`POST /api/uploads` with the bytes of an image: the name that a query calls it by."""
    limit = get_decode_limits().max_bytes
    body = await read_body(request, limit)

    def save(request: Request) -> Json:
        if body is None:
            raise RequestError(f"This file is too large: it has more than {limit:,} bytes.")
        return {"name": save_upload(body)}

    return await run_in_threadpool(answer_with(save), request)


def _parse_count(text: str, name: str, most: int | None) -> int:
    if not text.isdecimal() or len(text) > 9 or (most is not None and int(text) > most):
        raise RequestError(f"{name} is a number.")
    return int(text)
