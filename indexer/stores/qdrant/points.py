"""Converts records to points of qdrant-client, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.stores.base import ScoredPoint
from indexer.types import Payload, Record, SparseVector, Vector

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, grpc, models

    from indexer.stores.qdrant.server import Server

MAX_POINTS = 256  # per request
MAX_BYTES = 16 << 20  # per request; the server's default limit is 32 MB
BYTES_PER_VALUE = 12  # in JSON; four over gRPC
DECIMALS = 8  # of a unit vector's values: as precise as float32, half as long in JSON


def split_records(records: Sequence[Record], payloads: Sequence[int]) -> Iterator[Sequence[Record]]:
    """Split `records` into requests; `payloads` are the sizes of the payloads in bytes."""
    start, total = 0, 0
    for end, (record, payload) in enumerate(zip(records, payloads, strict=True)):
        values = sum(
            2 * len(vector.values) if isinstance(vector, SparseVector) else len(vector)
            for vector in record.vectors.values()
        )
        size = payload + BYTES_PER_VALUE * values
        full = end - start == MAX_POINTS or total + size > MAX_BYTES
        if full and end > start:
            yield records[start:end]
            start, total = end, 0
        total += size
    if start < len(records):
        yield records[start:]


def make_upsert(
    server: Server, collection: str, records: Sequence[Record]
) -> Callable[[QdrantClient], models.UpdateResult]:
    """Make the call that upserts `records`; they are converted once, even if it is retried."""
    if server.connection.grpc_port is not None:
        return _make_grpc_upsert(collection, records, server.connection.timeout)
    from qdrant_client import models

    points = [
        models.PointStruct(id=r.id, vector=to_rest_vectors(r), payload=r.payload) for r in records
    ]
    return lambda client: client.upsert(collection, points, wait=True)


def to_rest_vectors(record: Record) -> dict[str, Any]:
    from qdrant_client import models

    return {
        name: models.SparseVector(indices=list(v.indices), values=list(v.values))
        if isinstance(v, SparseVector)
        else np.round(v.astype(np.float64), DECIMALS).tolist()
        for name, v in record.vectors.items()
    }


def _make_grpc_upsert(
    collection: str, records: Sequence[Record], timeout: float
) -> Callable[[QdrantClient], models.UpdateResult]:
    """Convert without the client, in a third of the time."""
    from qdrant_client import grpc
    from qdrant_client.conversions.conversion import GrpcToRest

    points = [_to_grpc_point(record) for record in records]
    request = grpc.UpsertPoints(collection_name=collection, points=points, wait=True)

    def write(client: QdrantClient) -> models.UpdateResult:
        answer = client.grpc_points.Upsert(request, timeout=timeout)
        return GrpcToRest.convert_update_result(answer.result)

    return write


def _to_grpc_point(record: Record) -> grpc.PointStruct:
    from qdrant_client import grpc
    from qdrant_client.conversions.conversion import payload_to_grpc

    vectors = {name: _to_grpc_vector(vector) for name, vector in record.vectors.items()}

    def point(payload: Payload) -> grpc.PointStruct:
        return grpc.PointStruct(
            id=grpc.PointId(uuid=record.id),
            vectors=grpc.Vectors(vectors=grpc.NamedVectors(vectors=vectors)),
            payload=payload_to_grpc(payload),
        )

    try:
        return point(record.payload)
    except ValueError:
        return point(clamp_integers(record.payload))


def clamp_integers(value: Any) -> Any:
    """Convert integers of more than 64 bits to floats, as the server does with JSON."""
    if isinstance(value, dict):
        return {key: clamp_integers(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clamp_integers(each) for each in value]
    large = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    return float(value) if large else value


def _to_grpc_vector(vector: Vector | SparseVector) -> grpc.Vector:
    from qdrant_client import grpc

    if isinstance(vector, SparseVector):
        return grpc.Vector(sparse=grpc.SparseVector(values=vector.values, indices=vector.indices))
    # protobuf writes `repeated float data = 1` as the field's tag, the length, and the bytes
    raw = np.ascontiguousarray(vector, "<f4").tobytes()
    return grpc.Vector(dense=grpc.DenseVector.FromString(b"\x0a" + _encode_varint(len(raw)) + raw))


def _encode_varint(number: int) -> bytes:
    """https://protobuf.dev/programming-guides/encoding/#varints"""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def parse_scored_point(point: models.ScoredPoint) -> ScoredPoint:
    vectors: Any = point.vector or {}
    plain = {
        name: (v.indices, v.values) if hasattr(v, "indices") else v for name, v in vectors.items()
    }
    return ScoredPoint(str(point.id), point.score, point.payload, plain)


def parse_record(point: Any) -> Record:
    named: dict[str, Vector | SparseVector] = {
        name: SparseVector(tuple(v.indices), tuple(v.values))
        if hasattr(v, "indices")
        else np.asarray(v, dtype=np.float32)
        for name, v in (point.vector or {}).items()
    }
    return Record(str(point.id), named, point.payload or {})
