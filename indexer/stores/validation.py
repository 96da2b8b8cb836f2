"""Validation of records before they are written: invalid ones would damage the engine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from indexer.errors import StoreError
from indexer.stores.base import Schema
from indexer.types import Record, SparseVector, Vector

MAX_PAYLOAD_BYTES = 1 << 20  # bytes of JSON


def check_records(records: Sequence[Record], schema: Schema) -> list[int]:
    """Validate all records; returns the size of each payload as JSON, in bytes.

    Raises `StoreError` for the first invalid record.
    """
    dense, sizes = dict(schema.dense), []
    for record in records:
        check_id(record.id)
        sizes.append(_check_payload(record))
        _check_vectors(record, dense, schema.sparse)
    return sizes


def check_ids(ids: Iterable[str]) -> None:
    for id in ids:
        check_id(id)


def check_id(id: str) -> None:
    try:
        uuid.UUID(id)
    except (ValueError, AttributeError, TypeError):
        raise StoreError(f"{id!r} is not a valid point id: ids are UUIDs") from None


def _check_payload(record: Record) -> int:
    try:
        size = len(json.dumps(record.payload, allow_nan=False).encode("utf-8"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"point {record.id}: its payload is not JSON ({error})") from None
    if size > MAX_PAYLOAD_BYTES:
        raise StoreError(
            f"point {record.id}: its payload has {size:,} bytes; the limit is {MAX_PAYLOAD_BYTES:,}"
        )
    return size


def _check_vectors(record: Record, dense: Mapping[str, int], sparse: Sequence[str]) -> None:
    for name, vector in record.vectors.items():
        where = f"point {record.id}, vector {name!r}"
        if isinstance(vector, SparseVector) and name in sparse:
            _check_sparse(vector, where)
        elif not isinstance(vector, SparseVector) and name in dense:
            _check_dense(vector, dense[name], where)
        else:
            known = ", ".join([*dense, *sparse])
            raise StoreError(f"{where}: the collection has no such vector; it has {known}")


def _check_dense(vector: Vector, dim: int, where: str) -> None:
    if vector.shape != (dim,):
        raise StoreError(f"{where}: shape {vector.shape}, expected ({dim},)")
    if not np.isfinite(vector).all():
        raise StoreError(f"{where}: it has values that are not finite")


def _check_sparse(vector: SparseVector, where: str) -> None:
    if len(vector.indices) != len(vector.values):
        raise StoreError(f"{where}: {len(vector.indices)} indices, {len(vector.values)} values")
    if len(set(vector.indices)) != len(vector.indices):
        raise StoreError(f"{where}: an index occurs twice")
    if not all(0 <= index < 1 << 32 for index in vector.indices):
        raise StoreError(f"{where}: an index is not an unsigned 32-bit integer")
    if not np.isfinite(vector.values).all():
        raise StoreError(f"{where}: it has values that are not finite")
