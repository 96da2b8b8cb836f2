"""The interface of a store, and the checks of what is written: invalid records would damage it.

Filters and queries are `qdrant_client.models`.
"""

from __future__ import annotations

import json
import math
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from indexer.errors import DiskFullError, StoreError
from indexer.types import Payload, Record, SparseVector, Vector

if TYPE_CHECKING:
    from qdrant_client import models

TENANT_KEY = "tenant"  # payload key; on a server its index stores a tenant's points together
MAX_PAYLOAD_BYTES = 1 << 20  # bytes of JSON
MIN_FREE_BYTES = 200 << 20  # the store maps its files: a full disk would kill the process
PAGE_SIZE = 500  # points read at a time


@dataclass(frozen=True, slots=True)
class Schema:
    """The vectors and payload indexes of a collection."""

    dense: tuple[tuple[str, int], ...]  # (name, dim); cosine
    sparse: tuple[str, ...]  # with IDF
    keywords: tuple[str, ...]  # payload keys with a keyword index, which facets need
    integers: tuple[str, ...] = ()
    tenant: str | None = None  # the payload key of the tenant
    datetimes: tuple[str, ...] = ()  # ISO 8601; without a time zone: UTC


@dataclass(frozen=True, slots=True)
class Layout:
    """How a new collection is stored on a server; see `indexer.stores.qdrant.schema.PROFILES`.

    `small`: all in RAM. `large`: originals on disk as float16, quantized in RAM to four bits per
    value. `huge`: two bits, with shards and replicas. None: the profile's default.
    """

    profile: str = "small"
    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None  # replicas that must take a write; a new one: computed


class ScoredPoint(NamedTuple):
    """A point returned by a query; cheaper than `models.ScoredPoint`, which takes 10 µs."""

    id: str
    score: float
    payload: Payload | None
    vectors: dict[str, Any]  # dense as lists or arrays, sparse as (indices, values); as requested


class Store(Protocol):
    """One collection of points. Every method raises `StoreError` with a message for users."""

    def ensure(self, schema: Schema) -> None:
        """Create the collection and its payload indexes if they are missing."""
        ...

    def alter(self, schema: Schema) -> None:
        """Give the collection the dense vectors of `schema`: new ones, which no point has yet, and
        without those that only its former schema has."""
        ...

    def upsert(self, records: Sequence[Record], stop: threading.Event | None = None) -> None:
        """Insert or replace points, acknowledged on return. All are validated first.

        `stop` ends the waiting for a server that is away when another thread sets it.
        """
        ...

    def patch(self, records: Sequence[Record], *, merge: bool = False) -> None:
        """Replace the payload of existing points, and the vectors that are given.

        `merge`: only the payload keys that are given, whatever another program writes to the
        others meanwhile; None deletes a key.
        """
        ...

    def delete(self, ids: Sequence[str]) -> None: ...

    def delete_vectors(self, ids: Sequence[str], name: str) -> None:
        """Delete the vector `name` of existing points, as far as they have one."""
        ...

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredPoint]]: ...

    def query_union(
        self,
        requests: Sequence[models.QueryRequest],
        rescore: Sequence[models.QueryRequest] = (),
    ) -> list[list[ScoredPoint]]:
        """Score the union of all results by each request's own query vector.

        Those of `rescore` score the union too, and add nothing to it; their results come last. No
        request may have prefetch stages. A point without the vector that a request uses is missing
        from its result.
        """
        ...

    def retrieve(
        self, ids: Sequence[str], *, vectors: bool | Sequence[str] = False
    ) -> list[Record]:
        """The existing points among `ids`, in any order; with all vectors of the schema, or those
        that `vectors` names."""
        ...

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        """One page of points ordered by id, and the start of the next (None at the end)."""
        ...

    def count(self, where: models.Filter | None = None) -> int: ...

    def facet(
        self, key: str, where: models.Filter | None = None, limit: int = 20
    ) -> list[tuple[str, int]]:
        """The most common values of a payload key with their points; a server has a limit too."""
        ...

    def flush(self) -> None:
        """Make all acknowledged writes durable against a power cut."""
        ...

    def close(self) -> None: ...


def iterate_records(
    store: Store, where: models.Filter | None = None, *, vectors: bool = False
) -> Iterator[Record]:
    """Every point of `store` that matches `where`, ordered by id, a page at a time."""
    after = None
    while True:
        records, after = store.scroll(where, limit=PAGE_SIZE, after=after, vectors=vectors)
        yield from records
        if after is None:
            return


def sample_records(store: Store, size: int) -> list[Record]:
    """`size` points drawn at random, or all; with vectors."""
    from qdrant_client import models

    request = models.QueryRequest(query=models.SampleQuery(sample=models.Sample.RANDOM), limit=size)
    (points,) = store.query_batch([request])
    return store.retrieve([point.id for point in points], vectors=True)


def check_records(records: Sequence[Record], schema: Schema) -> list[int]:
    """Validate all records; returns the size of each payload as JSON, in bytes.

    Raises `StoreError` for the first invalid record.
    """
    dense = dict(schema.dense)
    check_ids(record.id for record in records)
    for record in records:
        _check_vectors(record, dense, schema.sparse)
    return [_check_payload(record) for record in records]


def check_ids(ids: Iterable[str]) -> None:
    for id in ids:
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
    import numpy as np  # not needed by `status`

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
    if not all(map(math.isfinite, vector.values)):
        raise StoreError(f"{where}: it has values that are not finite")


def check_disk_space(path: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raise `DiskFullError` if fewer than `needed` bytes are free."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DiskFullError(
            f"only {free >> 20} MB are free on the disk of {path.absolute()}; {needed >> 20} MB "
            "are needed to write safely: free some space, or choose another disk with --store"
        )
