"""Parts of gRPC's messages as REST's models, and what a call is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest
from qdrant_state import State

Do = Callable[[State, Any], Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One method of one service, under the operation's name that REST gives it."""

    service: str
    method: str
    name: str
    do: Do
    writes: bool = False


def given(message: Any, field: str, convert: Callable[[Any], Any] | None = None) -> Any:
    """An optional field, as REST's model; None where it is not set."""
    if not message.HasField(field):
        return None
    value = getattr(message, field)
    return convert(value) if convert else value


def payload_of(message: Any) -> dict[str, Any] | None:
    return GrpcToRest.convert_payload(message.metadata) if message.metadata else None


def where(message: Any, field: str = "filter") -> models.Filter | None:
    return given(message, field, GrpcToRest.convert_filter)


def shown(message: Any) -> dict[str, Any]:
    """Which parts of a point are asked for."""
    return {
        "with_payload": given(message, "with_payload", GrpcToRest.convert_with_payload_interface),
        "with_vector": given(message, "with_vectors", GrpcToRest.convert_with_vectors_selector),
    }
