"""Routes, keys and errors of the model server, an ASGI application."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from embedder.server.schemas import HTTPError
from embedder.server.service import CLIENT_CLOSED_REQUEST, Service

Handler = Callable[[Request], Awaitable[Response]]

BODY_TIMEOUT = 60  # for a client to send its body
log = logging.getLogger(__name__)


def create_app(service: Service, api_key: str | None = None) -> Starlette:
    """Create the application; without an `api_key` it serves anyone."""
    endpoint = Endpoints(service)
    routes = [
        Route("/v1/models", require_key(endpoint.models, api_key)),
        Route("/v1/embeddings", require_key(endpoint.embeddings, api_key), methods=["POST"]),
        Route("/healthz", endpoint.healthz),
        Route("/readyz", endpoint.readyz),
        Route("/metrics", endpoint.metrics),
    ]
    handlers = {HTTPException: handle_error, HTTPError: handle_error}
    return Starlette(routes=routes, exception_handlers=handlers)


def require_key(handler: Handler, api_key: str | None) -> Handler:
    """Require the key for `handler`, compared in constant time."""

    async def guarded(request: Request) -> Response:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        is_same = not api_key or hmac.compare_digest(key.strip().encode(), api_key.encode())
        if api_key and not (is_same and scheme.lower() == "bearer"):
            message = "the API key is missing or wrong: Authorization: Bearer KEY"
            raise HTTPError(401, message, code="invalid_api_key")
        return await handler(request)

    return guarded


async def handle_error(request: Request, error: Exception) -> Response:
    """Answer a refused request, or an unknown path or method, in OpenAI's format."""
    if isinstance(error, HTTPException):
        message = f"{request.method} {request.url.path}: {error.detail}"
        error = HTTPError(error.status_code, message)
    assert isinstance(error, HTTPError)
    return error_response(error)


def error_response(error: HTTPError) -> Response:
    return JSONResponse(error.body, error.status, error.headers)


class Endpoints:
    """The handlers of the paths."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def healthz(self, request: Request) -> Response:
        return Response("ok\n")

    async def readyz(self, request: Request) -> Response:
        ready = self._service.is_ready
        return Response("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    async def models(self, request: Request) -> Response:
        card = self._service.public_card
        model = {"id": self._service.name, "object": "model", "created": 0, "owned_by": "polylens"}
        return JSONResponse({"object": "list", "data": [model | {"polylens": asdict(card)}]})

    async def embeddings(self, request: Request) -> Response:
        """Answer, count and time a request, however it ends."""
        started = time.perf_counter()
        request.state.kind = "unknown"
        try:
            work = self._handle_embeddings(request)
            response = await self._service.run_until_refused(work)
        except HTTPError as error:
            response = error_response(error)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_CLOSED_REQUEST)
        except Exception:  # an error of the model; its message is not for clients
            log.exception("a request failed")
            response = error_response(HTTPError(500, "the server failed; its log says how"))
        metrics = self._service.metrics
        metrics.requests.labels(request.state.kind, str(response.status_code)).inc()
        metrics.request_seconds.observe(time.perf_counter() - started)
        return response

    async def _handle_embeddings(self, request: Request) -> Response:
        max_bytes = self._service.limits.bytes
        with self._service.admit(read_declared_size(request, max_bytes)):
            body = await read_body(request, max_bytes)
            embedding_request = await self._service.parse(body)
            request.state.kind = embedding_request.body_kind
            disconnected = asyncio.ensure_future(wait_for_disconnect(request))
            try:
                content = await self._service.embed(embedding_request, disconnected)
            finally:
                disconnected.cancel()
            return Response(content, media_type="application/json")


def read_declared_size(request: Request, max_bytes: int) -> int:
    """Return the content length; the maximum if the header is missing."""
    content_length = request.headers.get("content-length", "")
    return min(int(content_length), max_bytes) if content_length.isdigit() else max_bytes


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read a body of at most `max_bytes`; raise `HTTPError` for a larger one.

    A body that is somewhat too large is read to its end and dropped: a client that is cut off while
    it sends would not see the error.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.stream():
                size += len(part)
                if size <= max_bytes:
                    parts.append(part)
                elif size > 4 * max_bytes:
                    break
    except TimeoutError:
        raise HTTPError(408, f"the body did not come in {BODY_TIMEOUT} seconds") from None
    if size > max_bytes:
        raise HTTPError(413, f"a request of more than {max_bytes} bytes", code="request_too_large")
    return b"".join(parts)


async def wait_for_disconnect(request: Request) -> None:
    """Return when the client disconnects; call it after the body is read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
