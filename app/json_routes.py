"""What the JSON routes have in common: their parameters, bodies, answers and errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app import state
from app.state import Search
from embedder import EmbedderError
from indexer.config import parse_name
from indexer.errors import CollectionError, IndexerError, QueryError, StoreError

HEADERS = {"Cache-Control": "no-store"}
MAX_ITEMS = 5_000  # that a request names
MAX_SELECTION_BYTES = 60 * MAX_ITEMS  # of its body

BAD_JSON = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a body of another form raises."""

Json = dict[str, Any]
"""A JSON object."""


class RequestError(Exception):
    """A request that this app's pages do not make; the message is a sentence."""


def answer_with(handle: Callable[[Request], Json | None]) -> Callable[[Request], Response]:
    """Answer with what `handle` returns, or with what went wrong."""

    @wraps(handle)
    def answer(request: Request) -> Response:
        try:
            body = handle(request)
        except (RequestError, QueryError, EmbedderError) as error:
            return _refuse(400, error)
        except CollectionError as error:
            return _refuse(404, error)
        except StoreError as error:
            return _refuse(503, error)
        except IndexerError as error:
            return _refuse(500, error)
        if body is None:
            return _refuse(404, "The collection does not have this item any more.")
        return JSONResponse(body, headers=HEADERS)

    return answer


def _refuse(status: int, error: Exception | str) -> Response:
    return JSONResponse({"error": str(error)}, status, HEADERS)


def parse_search(request: Request, collection: str | None = None) -> Search:
    """The search of the request's parameters; raises `RequestError` without a collection."""
    wanted = state.parse_params(request.query_params.getlist)
    try:
        name = parse_name(collection or wanted.collection)
    except ValueError:
        raise RequestError("Name a collection: ?c=NAME.") from None
    return replace(wanted, collection=name)


async def read_body(request: Request, most: int) -> bytes | None:
    """The body of a request; None if it is longer than `most` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
