"""A collection behind qdrant-client: on a Qdrant server, or in memory for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.errors import StoreError
from indexer.stores.protocol import Schema, Scored
from indexer.stores.validate import check_ids, check_records
from indexer.types import Record, Sparse, Vector

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

TIMEOUT = 60  # seconds


class ClientStore:
    """One collection of the Qdrant at `location` (a URL, or `:memory:`). Thread-safe."""

    def __init__(self, location: str, collection: str, api_key: str | None = None) -> None:
        self._location, self._name, self._key = location, collection, api_key
        self._schema: Schema | None = None
        self._lock = threading.RLock()  # the engine in memory is not thread-safe
        self._opened: QdrantClient | None = None

    def ensure(self, schema: Schema) -> None:
        self._schema = schema
        with self._talking() as client:
            if not client.collection_exists(self._name):
                self._create(client, schema)

    def _create(self, client: QdrantClient, schema: Schema) -> None:
        from qdrant_client import models

        client.create_collection(
            self._name,
            {
                name: models.VectorParams(size=dim, distance=models.Distance.COSINE)
                for name, dim in schema.dense
            },
            sparse_vectors_config={
                name: models.SparseVectorParams(modifier=models.Modifier.IDF)
                for name in schema.sparse
            },
        )
        if self._location != ":memory:":  # which needs none
            for key in schema.keywords:
                client.create_payload_index(self._name, key, models.PayloadSchemaType.KEYWORD)
            for key in schema.integers:
                client.create_payload_index(self._name, key, models.PayloadSchemaType.INTEGER)

    def upsert(self, records: Sequence[Record]) -> None:
        from qdrant_client import models

        self._check(records)
        points = [models.PointStruct(id=r.id, vector=_wire(r), payload=r.payload) for r in records]
        if points:
            with self._talking() as client:
                client.upsert(self._name, points, wait=True)

    def patch(self, records: Sequence[Record]) -> None:
        from qdrant_client import models

        self._check(records)
        with self._talking() as client:
            known = {r.id for r in self.retrieve([r.id for r in records])}
            for record in (r for r in records if r.id in known):
                client.overwrite_payload(self._name, record.payload, [record.id], wait=True)
                if record.vectors:
                    vectors = models.PointVectors(id=record.id, vector=_wire(record))
                    client.update_vectors(self._name, [vectors], wait=True)

    def delete(self, ids: Sequence[str]) -> None:
        check_ids(ids)
        if ids:
            with self._talking() as client:
                client.delete(self._name, list(ids), wait=True)

    def query(self, request: models.QueryRequest) -> list[Scored]:
        return self.query_batch([request])[0]

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[Scored]]:
        with self._talking() as client:
            answers = client.query_batch_points(self._name, list(requests))
        return [[_scored(point) for point in answer.points] for answer in answers]

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Record]:
        check_ids(ids)
        with self._talking() as client:
            points = client.retrieve(self._name, list(ids), True, vectors) if ids else []
        return [_record(point) for point in points]

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        with self._talking() as client:
            points, following = client.scroll(
                self._name, where, limit, offset=after, with_payload=True, with_vectors=vectors
            )
        return [_record(point) for point in points], None if following is None else str(following)

    def count(self, where: models.Filter | None = None) -> int:
        with self._talking() as client:
            return int(client.count(self._name, where, exact=True).count)

    def facet(
        self, key: str, where: models.Filter | None = None, limit: int = 20
    ) -> list[tuple[str, int]]:
        with self._talking() as client:
            hits = client.facet(self._name, key, where, limit, exact=True).hits
        return [(str(hit.value), hit.count) for hit in hits]

    def flush(self) -> None:
        """A server has written what it has acknowledged."""

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def _check(self, records: Sequence[Record]) -> None:
        if self._schema is None:
            raise StoreError("the collection is not open: call ensure(schema) first")
        check_records(records, self._schema)

    @contextmanager
    def _talking(self) -> Iterator[QdrantClient]:
        """The client, alone with it; what goes wrong becomes a `StoreError`."""
        with self._lock:
            try:
                if self._opened is None:
                    self._opened = self._client()
                yield self._opened
            except StoreError:
                raise
            except Exception as error:
                raise StoreError(self._explained(error)) from error

    def _client(self) -> QdrantClient:
        from qdrant_client import QdrantClient

        if self._location == ":memory:":
            return QdrantClient(":memory:")
        return QdrantClient(url=self._location, api_key=self._key, timeout=TIMEOUT)

    def _explained(self, error: Exception) -> str:
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            return f"{self._location} refused the API key; set QDRANT_API_KEY to the right one"
        if status == 404:
            return f"{self._location} has no collection {self._name!r}: indexer ingest FOLDER"
        if "onnection" in f"{type(error).__name__} {error}":
            return f"nothing answers at {self._location}; start the Qdrant server, or check --store"
        return f"Qdrant at {self._location} failed: {error}"


def _wire(record: Record) -> dict[str, Any]:
    from qdrant_client import models

    return {
        name: models.SparseVector(indices=list(v.indices), values=list(v.values))
        if isinstance(v, Sparse)
        else v.tolist()
        for name, v in record.vectors.items()
    }


def _scored(point: models.ScoredPoint) -> Scored:
    vectors: Any = point.vector or {}
    plain = {
        name: (v.indices, v.values) if hasattr(v, "indices") else v for name, v in vectors.items()
    }
    return Scored(str(point.id), point.score, point.payload, plain)


def _record(point: Any) -> Record:
    named: dict[str, Vector | Sparse] = {
        name: Sparse(tuple(v.indices), tuple(v.values))
        if hasattr(v, "indices")
        else np.asarray(v, dtype=np.float32)
        for name, v in (point.vector or {}).items()
    }
    return Record(str(point.id), named, point.payload or {})
