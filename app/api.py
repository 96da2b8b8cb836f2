"""The JSON routes that the app's own pages ask: hits, items, votes and uploads.

The parameters of a search are those of the page's address (`app.state`). Each answer is a JSON
object; one with an error has its sentence under `error`. `app.access` guards the routes: Host,
Origin and login.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app import results, state, votes
from app.media import save_upload
from app.services import get_decode_limits, open_searcher
from app.state import Search
from embedder import EmbedderError
from indexer.config import parse_name
from indexer.errors import CollectionError, IndexerError, QueryError, StoreError

MAX_VOTE_BYTES = 4096
HEADERS = {"Cache-Control": "no-store"}
Answer = results.Json


class RequestError(Exception):
    """A request that this app's pages do not make; the message is a sentence."""


def build_routes() -> Sequence[BaseRoute]:
    return [
        Route("/api/search", _answer_with(search)),
        Route("/api/items/{collection}/{id}", _answer_with(load_item)),
        Route("/api/votes", receive_vote, methods=["POST"]),
        Route("/api/uploads", receive_upload, methods=["POST"]),
    ]


def search(request: Request) -> Answer:
    """`GET /api/search?c=...&query=...&offset=60&limit=60&token=...`: a page of hits."""
    wanted, params = _parse_search(request), request.query_params
    offset = _parse_count(params.get("offset") or "0", "offset", 10_000_000)
    limit = _parse_count(params.get("limit") or str(results.PAGE_SIZE), "limit", None)
    limit = min(max(limit, 1), results.MAX_PAGE_SIZE)
    return results.load_page(wanted, offset, limit, params.get("token") or None).to_json()


def load_item(request: Request) -> Answer | None:
    """`GET /api/items/COLLECTION/ID?query=...`: one item, and why the query finds it."""
    try:
        id = str(uuid.UUID(request.path_params["id"]))
    except ValueError:
        return None
    name = request.path_params["collection"]
    return results.describe_item(_parse_search(request, name), id)


async def receive_vote(request: Request) -> Response:
    """`POST /api/votes?c=...&query=...` with `{"id": ..., "vote": 1, 0 or -1}`."""
    body = await _read_body(request, MAX_VOTE_BYTES)

    def record(request: Request) -> Answer | None:
        try:
            given = json.loads(body or b"")
            id, vote = str(uuid.UUID(given["id"])), given["vote"]
        except (ValueError, KeyError, TypeError):
            raise RequestError("A vote has the id of an item, and 1, 0 or -1.") from None
        wanted = _parse_search(request)
        if vote not in (1, 0, -1) or not wanted.terms:
            raise RequestError("A vote has the id of an item, and 1, 0 or -1.")
        records = open_searcher(wanted.collection).collection.store.retrieve([id])
        for found in records:
            votes.record_vote(wanted, found, vote)
        return {"vote": vote} if records else None

    return await run_in_threadpool(_answer_with(record), request)


async def receive_upload(request: Request) -> Response:
    """`POST /api/uploads` with the bytes of an image: the name that a query calls it by."""
    limit = get_decode_limits().max_bytes
    body = await _read_body(request, limit)

    def save(request: Request) -> Answer:
        if body is None:
            raise RequestError(f"This file is too large: it has more than {limit:,} bytes.")
        return {"name": save_upload(body)}

    return await run_in_threadpool(_answer_with(save), request)


def _answer_with(handle: Callable[[Request], Answer | None]) -> Callable[[Request], Response]:
    """Answer with what `handle` returns, or with what went wrong."""

    @wraps(handle)
    def answer(request: Request) -> Response:
        status: int = 200
        body: Answer | None = None
        try:
            body = handle(request)
            if body is None:
                status, body = 404, _error("The collection does not have this item any more.")
        except (RequestError, QueryError, EmbedderError) as error:
            status, body = 400, _error(error)
        except CollectionError as error:
            status, body = 404, _error(error)
        except StoreError as error:
            status, body = 503, _error(error)
        except IndexerError as error:
            status, body = 500, _error(error)
        return JSONResponse(body, status, HEADERS)

    return answer


def _error(error: Exception | str) -> dict[str, Any]:
    return {"error": str(error)}


def _parse_search(request: Request, collection: str | None = None) -> Search:
    """The search of the request's parameters; raises `RequestError` without a collection."""
    wanted = state.parse_params(request.query_params.getlist)
    try:
        name = parse_name(collection or wanted.collection)
    except ValueError:
        raise RequestError("Name a collection: ?c=NAME.") from None
    return replace(wanted, collection=name)


def _parse_count(text: str, name: str, most: int | None) -> int:
    if not text.isdecimal() or len(text) > 9 or (most is not None and int(text) > most):
        raise RequestError(f"{name} is a number.")
    return int(text)


async def _read_body(request: Request, most: int) -> bytes | None:
    """The body of a request; None if it is longer than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
