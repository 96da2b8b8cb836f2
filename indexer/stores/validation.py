"""What a store refuses before it writes anything: the engine would take it and be damaged."""

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
    """The bytes of each payload as JSON; raises `StoreError` for the first record that must not be
    written; none is then."""
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
        raise StoreError(f"{id!r} is no point's id: ids are UUIDs") from None


def _check_payload(record: Record) -> int:
    try:
        size = len(json.dumps(record.payload, allow_nan=False).encode("utf-8"))
    except (TypeError, ValueError) as error:
        raise StoreError(f"point {record.id}: its payload is not JSON ({error})") from None
    if size > MAX_PAYLOAD_BYTES:
        raise StoreError(
            f"point {record.id}: its payload has {size:,} bytes, and {MAX_PAYLOAD_BYTES:,} are "
            "the limit"
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
        raise StoreError(f"{where}: shape {vector.shape}, and the collection's is ({dim},)")
    if not np.isfinite(vector).all():
        raise StoreError(f"{where}: it holds numbers that are not finite")


def _check_sparse(vector: SparseVector, where: str) -> None:
    if len(vector.indices) != len(vector.values):
        raise StoreError(f"{where}: {len(vector.indices)} indices, {len(vector.values)} values")
    if len(set(vector.indices)) != len(vector.indices):
        raise StoreError(f"{where}: an index stands in it twice")
    if not all(0 <= index < 1 << 32 for index in vector.indices):
        raise StoreError(f"{where}: an index is not a 32-bit number")
    if not np.isfinite(vector.values).all():
        raise StoreError(f"{where}: it holds numbers that are not finite")
