"""The stand-in's gRPC server: the shipped servicers, and what goes wrong before and after them."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import qdrant_rpc_collections
import qdrant_rpc_points
from pydantic import ValidationError
from qdrant_client.grpc import (
    PointsOperationResponse,
    UpdateResult,
    UpdateStatus,
    points_service_pb2_grpc,
    qdrant_pb2_grpc,
)
from qdrant_client.grpc.collections_service_pb2_grpc import (
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_faults import Fault, Faults
from qdrant_keys import Keys
from qdrant_messages import Call, given
from qdrant_state import State
from qdrant_strict import Refused

CALLS = (*qdrant_rpc_collections.CALLS, *qdrant_rpc_points.CALLS)
OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.so_reuseport", 0),  # a taken port is an error
]
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
}
BROKEN = (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer")
FAILURES = {  # what grpc makes of the fault at the client
    "429": (grpc.StatusCode.RESOURCE_EXHAUSTED, "Rate limiting exceeded: retry later"),
    "408": (grpc.StatusCode.DEADLINE_EXCEEDED, "Timeout error: Operation timed out"),
    "503": (grpc.StatusCode.UNAVAILABLE, "Service unavailable"),
    "500": (grpc.StatusCode.INTERNAL, "Service internal error: injected"),
    "reset-before": BROKEN,
    "reset-after": BROKEN,
    "half": (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
}
BEFORE = ("429", "408", "503", "500", "reset-before")
UNAPPLIED = PointsOperationResponse(result=UpdateResult(status=UpdateStatus.WaitTimeout))
GARBAGE = b"\xff\xff\xff\xff"  # no message begins so


class Rpc:
    """A gRPC server in threads of its own."""

    def __init__(
        self,
        address: str,
        state: State,
        faults: Faults,
        keys: Keys,
        on_last_write: Callable[[], None],
        tls: tuple[bytes, bytes] | None,
    ) -> None:
        """`tls` is (key, certificate) in PEM. `port` tells where it listens."""
        guard = _Guard(faults, keys, on_last_write)
        self._pool = ThreadPoolExecutor(8, "qdrant-grpc")
        self._server = grpc.server(self._pool, interceptors=[guard], options=OPTIONS)
        _serve(self._server, state)
        if tls:
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([tls]))
        else:
            self.port = self._server.add_insecure_port(address)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown(wait=False)


def _serve(server: grpc.Server, state: State) -> None:
    """The shipped servicers; what they do not override is UNIMPLEMENTED."""
    servicers = {
        "Points": points_service_pb2_grpc.PointsServicer(),
        "Collections": CollectionsServicer(),
        "Qdrant": qdrant_pb2_grpc.QdrantServicer(),
    }
    for call in CALLS:
        setattr(servicers[call.service], call.method, _method(call, state))
    points_service_pb2_grpc.add_PointsServicer_to_server(servicers["Points"], server)
    add_CollectionsServicer_to_server(servicers["Collections"], server)
    qdrant_pb2_grpc.add_QdrantServicer_to_server(servicers["Qdrant"], server)


def _method(call: Call, state: State) -> Callable[[Any, grpc.ServicerContext], Any]:
    def method(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            if call.service == "Points" and "timeout" in request.DESCRIPTOR.fields_by_name:
                state.check_timeout(request.collection_name, given(request, "timeout"))
            return call.do(state, request)
        except Refused as refused:
            context.abort(CODES[refused.status], refused.message.replace("JSON body", "body"))
        except ValidationError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            context.abort(grpc.StatusCode.INTERNAL, f"Service internal error: {error!r}")

    return method


class _Guard(grpc.ServerInterceptor):
    """Keys and faults around each call."""

    def __init__(self, faults: Faults, keys: Keys, on_last_write: Callable[[], None]) -> None:
        self._faults, self._keys, self._on_last_write = faults, keys, on_last_write
        self._calls = {f"/qdrant.{call.service}/{call.method}": call for call in CALLS}

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler, call = continuation(details), self._calls.get(details.method)
        if handler is None or call is None:
            return handler
        told = dict(details.invocation_metadata)
        key = told.get("api-key") or told.get("authorization", "")[7:] or None

        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            text = f"{call.name} {details.method} {getattr(request, 'collection_name', '')}"
            fault = self._faults.take(text)
            self._before(fault, context)
            try:
                self._keys.check(key, call.writes)
            except Refused as refused:
                context.abort(CODES[refused.status], refused.message)
            if fault and fault.kind == "unapplied":
                return UNAPPLIED
            answer = handler.unary_unary(request, context)
            self._after(fault, context)
            if call.writes and self._faults.written(text):
                context.add_callback(self._on_last_write)  # it is answered first
            return GARBAGE if fault and fault.kind == "malformed" else answer

        return grpc.unary_unary_rpc_method_handler(
            guarded, handler.request_deserializer, _serialised
        )

    def _before(self, fault: Fault | None, context: grpc.ServicerContext) -> None:
        while self._faults.hung and not self._faults.gone and context.is_active():
            time.sleep(0.01)
        if self._faults.gone:
            context.abort(*BROKEN)
        if fault is None:
            return
        if fault.kind == "slow":
            time.sleep(fault.delay)
        if fault.kind == "429":
            context.set_trailing_metadata((("retry-after", str(fault.retry_after)),))
        if fault.kind in BEFORE:
            context.abort(*FAILURES[fault.kind])

    def _after(self, fault: Fault | None, context: grpc.ServicerContext) -> None:
        if fault and fault.kind in ("reset-after", "half"):
            context.abort(*FAILURES[fault.kind])


def _serialised(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())
