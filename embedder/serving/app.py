"""Routes, keys and errors: the service as an ASGI application."""

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

from embedder.serving.limits import Refusal
from embedder.serving.service import CLIENT_GONE, Service

Handler = Callable[[Request], Awaitable[Response]]

BODY_SECONDS = 60  # for a client to send its body
log = logging.getLogger(__name__)


def create_app(service: Service, api_key: str | None = None) -> Starlette:
    """The application; without an `api_key` it serves anyone."""
    endpoint = Endpoint(service)
    routes = [
        Route("/v1/models", keyed(endpoint.models, api_key)),
        Route("/v1/embeddings", keyed(endpoint.embeddings, api_key), methods=["POST"]),
        Route("/healthz", endpoint.healthz),
        Route("/readyz", endpoint.readyz),
        Route("/metrics", endpoint.metrics),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: unknown})


def keyed(handler: Handler, api_key: str | None) -> Handler:
    """`handler` for those who bring the key; what it refuses, in OpenAI's shape."""

    async def guarded(request: Request) -> Response:
        try:
            if api_key:
                check_key(request.headers.get("authorization", ""), api_key)
            return await handler(request)
        except Refusal as refusal:
            return refused(refusal)

    return guarded


def check_key(header: str, api_key: str) -> None:
    """Takes the same time for every wrong key; raises `Refusal`."""
    scheme, _, key = header.partition(" ")
    same = hmac.compare_digest(key.strip().encode(), api_key.encode())
    if scheme.lower() != "bearer" or not same:
        raise Refusal(
            401,
            "the API key is missing or wrong: Authorization: Bearer KEY",
            code="invalid_api_key",
        )


def refused(refusal: Refusal) -> Response:
    return JSONResponse(refusal.plain, refusal.status, refusal.headers)


async def unknown(request: Request, error: Exception) -> Response:
    """A path or a method that is not there."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return refused(Refusal(error.status_code, message))


class Endpoint:
    """What answers at each path."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def healthz(self, request: Request) -> Response:
        return Response("ok\n")

    async def readyz(self, request: Request) -> Response:
        ready = self._service.ready
        return Response("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._service.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    async def models(self, request: Request) -> Response:
        card = self._service.card
        model = {"id": self._service.name, "object": "model", "created": 0, "owned_by": "polylens"}
        return JSONResponse({"object": "list", "data": [model | {"polylens": asdict(card)}]})

    async def embeddings(self, request: Request) -> Response:
        """Answers, counts and times a request, however it ends."""
        started = time.perf_counter()
        request.state.kind = "unknown"
        try:
            response = await self._embeddings(request)
        except Refusal as refusal:
            response = refused(refusal)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        except Exception:  # the model's fault; what it was is not for strangers
            log.exception("a request failed")
            response = refused(Refusal(500, "the server failed; its log says how"))
        metrics = self._service.metrics
        metrics.requests.labels(request.state.kind, str(response.status_code)).inc()
        metrics.seconds.observe(time.perf_counter() - started)
        return response

    async def _embeddings(self, request: Request) -> Response:
        most = self._service.limits.bytes
        with self._service.admitted(told_size(request, most)):
            body = await read(request, most)
            asked = await self._service.parsed(body)
            request.state.kind = asked.form
            gone = asyncio.ensure_future(departure(request))
            try:
                content = await self._service.embedded(asked, gone)
            finally:
                gone.cancel()
            return Response(content, media_type="application/json")


def told_size(request: Request, most: int) -> int:
    """Bytes of the body as its head says; as many as may be where it does not."""
    told = request.headers.get("content-length", "")
    return min(int(told), most) if told.isdigit() else most


async def read(request: Request, most: int) -> bytes:
    """The body, of at most `most` bytes; raises `Refusal`.

    What is too large is read to its end, if that is near, and forgotten: a client that is cut off
    while it sends would not see why.
    """
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= most:
                    parts.append(part)
                elif size > 4 * most:
                    break
    except TimeoutError:
        raise Refusal(408, f"the body did not come in {BODY_SECONDS} seconds") from None
    if size > most:
        raise Refusal(413, f"a request of more than {most} bytes", code="request_too_large")
    return b"".join(parts)


async def departure(request: Request) -> None:
    """Ends when the client goes away. To be asked once the body is read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
