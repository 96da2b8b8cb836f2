"""Qdrant's REST API over the stand-in's state, as an ASGI application."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from qdrant_checks import malformed
from qdrant_client import models
from qdrant_faults import Fault, Faults
from qdrant_keys import Keys
from qdrant_operations import OPERATIONS, POINTS, SLASH, VERSION, Asked, Operation
from qdrant_state import State
from qdrant_strict import Refused
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

LIMIT = 32 << 20  # bytes of a request's body, as the server is delivered
HEALTH = ("/healthz", "/livez", "/readyz")  # need no key, as the version


def application(
    state: State, faults: Faults, keys: Keys, on_last_write: Callable[[], None]
) -> ASGIApp:
    async def version(request: Request) -> Response:
        faults.seen["version GET /"] += 1  # counted, and never made to fail
        await _while_hung(faults)
        return await _version(request)

    async def health(request: Request) -> Response:
        await _while_hung(faults)
        return await _fine(request)

    routes = [Route("/", version), *(Route(path, health) for path in HEALTH)]
    for operation in OPERATIONS:
        endpoint = _endpoint(operation, state, faults, keys, on_last_write)
        routes.append(Route(operation.path, endpoint, methods=[operation.method]))
    app = Starlette(routes=routes, exception_handlers={404: lambda *_: Response(status_code=404)})
    return _as_received(app)


async def _version(request: Request) -> Response:
    told = {"title": "qdrant - vector search engine", "version": VERSION, "commit": None}
    return _json(200, told)


async def _fine(request: Request) -> Response:
    ready = request.url.path == "/readyz"
    return PlainTextResponse("all shards are ready" if ready else "healthz check passed")


def _endpoint(
    operation: Operation,
    state: State,
    faults: Faults,
    keys: Keys,
    on_last_write: Callable[[], None],
) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        text = f"{operation.name} {request.method} {request.url.path}"
        fault = faults.take(text)
        asked = Asked(request.path_params, request.query_params, await request.body())
        await _while_hung(faults)
        if faults.gone or (fault and fault.kind == "reset-before"):
            return _reset(request)
        if fault and fault.kind == "slow":
            await asyncio.sleep(fault.delay)
        if instead := _instead(fault, asked):
            return instead
        key = request.headers.get("api-key") or request.headers.get("authorization", "")[7:]
        answer = _answered(operation, state, keys, key or None, asked)
        if operation.writes and answer.status_code == 200 and faults.written(text):
            answer.background = BackgroundTask(on_last_write)  # it is answered first
        return _spoiled(request, answer, fault)

    return endpoint


async def _while_hung(faults: Faults) -> None:
    while faults.hung and not faults.gone:
        await asyncio.sleep(0.01)


def _instead(fault: Fault | None, asked: Asked) -> Response | None:
    """What is answered where nothing is done."""
    if fault and fault.kind.isdigit():
        return _failed(fault)
    if fault and fault.kind == "unapplied":
        return _json(200, {"result": {"status": "wait_timeout"}, "status": "ok", "time": 0.0})
    size = len(asked.body)
    if size > LIMIT:
        told = f"JSON payload ({size} bytes) is larger than allowed (limit: {LIMIT} bytes)."
        return _refusal(Refused(400, f"Payload error: {told}"), time.perf_counter())
    return None


def _answered(
    operation: Operation, state: State, keys: Keys, key: str | None, asked: Asked
) -> Response:
    started = time.perf_counter()
    try:
        keys.check(key, operation.writes)
        if operation.path.startswith(POINTS) and (timeout := asked.query.get("timeout")):
            state.check_timeout(asked.name, int(timeout))
        result = operation.do(state, asked)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return _refusal(malformed(f"{where}: {first['msg']}"), started)
    except Refused as refused:
        return _refusal(refused, started)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return _refusal(Refused(500, f"Service internal error: {error!r}"), started)
    if operation.update:
        result = _acknowledged(result, asked.query.get("wait") == "true")
    if isinstance(result, str):
        return PlainTextResponse(result)
    taken = time.perf_counter() - started
    return _json(200, {"result": result, "status": "ok", "time": taken})


def _acknowledged(numbers: int | list[int], wait: bool) -> Any:
    status = models.UpdateStatus.COMPLETED if wait else models.UpdateStatus.ACKNOWLEDGED
    if isinstance(numbers, list):
        return [models.UpdateResult(operation_id=n, status=status) for n in numbers]
    return models.UpdateResult(operation_id=numbers, status=status)


def _refusal(refused: Refused, started: float) -> Response:
    if refused.status == 401:
        return PlainTextResponse(refused.message, 401)
    told = {"status": {"error": refused.message}, "time": time.perf_counter() - started}
    return _json(refused.status, told)


def _json(status: int, told: dict[str, Any] | BaseModel) -> Response:
    return Response(to_json(told, exclude_none=True), status, media_type="application/json")


def _failed(fault: Fault) -> Response:
    text = {
        "429": "Rate limiting exceeded: Write rate limit exceeded, retry later",
        "408": "Timeout error: Operation timed out",
        "503": "Service unavailable",
        "500": "Service internal error: injected",
    }[fault.kind]
    answer = _json(int(fault.kind), {"status": {"error": text}, "time": 0.0})
    if fault.kind == "429":
        answer.headers["retry-after"] = str(fault.retry_after)
    return answer


def _spoiled(request: Request, answer: Response, fault: Fault | None) -> Response:
    if fault and fault.kind == "reset-after":
        return _reset(request)
    if fault and fault.kind == "half":
        return _Half(answer.body)
    if fault and fault.kind == "malformed":
        return Response(b'{"result": {"points', 200, media_type="application/json")
    return answer


class _Half(Response):
    """Promises a whole body, sends half of it, and breaks the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["transport"].close()  # after what is written has gone out
        await _gone(receive)


class _Nothing(Response):
    """No answer: the connection is gone already."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Until uvicorn knows that the connection is closed, else it answers in our place."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(request: Request) -> Response:
    """Break the connection as a crash does: the client sees a reset."""
    transport = request.scope["transport"]
    if not transport.is_closing():
        plain = transport.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return _Nothing()


def _as_received(app: ASGIApp) -> ASGIApp:
    """Give the faults the connection, which uvicorn hides behind `send`, and the routes the path
    with a name's own slashes told from the others."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["transport"] = send.__self__.transport  # type: ignore[attr-defined]
            raw = scope["raw_path"].decode().replace("%2F", quote(SLASH))
            scope["path"] = unquote(raw)
        await app(scope, receive, send)

    return outer
