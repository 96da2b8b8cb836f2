"""A collection on a Qdrant server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from indexer.errors import StoreError
from indexer.stores.base import Layout, Schema, ScoredPoint, check_ids, check_records
from indexer.stores.filters import matches_nothing, simplify_filter, simplify_query
from indexer.stores.qdrant.errors import NotAppliedError
from indexer.stores.qdrant.points import (
    clamp_integers,
    make_upsert,
    parse_record,
    parse_scored_point,
    split_records,
    to_rest_vectors,
)
from indexer.stores.qdrant.schema import (
    STRICT_MODE,
    alter_collection,
    ensure_collection,
    make_search_params,
)
from indexer.stores.upload import upload
from indexer.types import Record

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

    from indexer.stores.qdrant.server import Server

T = TypeVar("T")
MAX_IDS = 1000  # per request
MAX_VECTORS = 256  # points per request with vectors
MAX_QUERIES = 64  # per request


class QdrantStore:
    """The collection, or alias, `collection` of a server. Thread-safe; calls run concurrently."""

    def __init__(
        self,
        server: Server,
        collection: str,
        layout: Layout | None = None,
        info: models.CollectionInfo | None = None,
        is_new: bool = False,
    ) -> None:
        """`info` is the server's description of it, if known; `is_new`: it has just been created,
        with its indexes."""
        self._server, self._name, self._layout = server, collection, layout or Layout()
        self._info, self._is_new = info, is_new
        self._schema: Schema | None = None

    def ensure(self, schema: Schema) -> None:
        if not self._is_new:
            self._info = ensure_collection(
                self._server, self._name, schema, self._layout, self._info
            )
        self._schema = schema

    def alter(self, schema: Schema) -> None:
        self._info = alter_collection(
            self._server, self._name, self._require_schema(), schema, self._layout
        )
        self._schema = schema

    @cached_property
    def _search_params(self) -> models.SearchParams | None:
        info = self._info or self._read(lambda client: client.get_collection(self._name))
        return make_search_params(info)

    def _read(self, operation: Callable[[QdrantClient], T]) -> T:
        return self._server.call(operation, is_read=True)

    def upsert(self, records: Sequence[Record], stop: threading.Event | None = None) -> None:
        parts = list(split_records(records, check_records(records, self._require_schema())))
        if len(parts) > 1 and stop is None:
            for _ in upload(self, parts, self._server.connection.upload_concurrency):
                pass
            return
        for part in parts:  # in this thread, so that Ctrl-C works at once
            self._write(part, stop)

    def _write(self, records: Sequence[Record], stop: threading.Event | None) -> None:
        try:
            write = make_upsert(self._server, self._name, records)
        except ValueError as error:  # for example an unpaired surrogate
            raise StoreError(f"a point cannot be sent to the server: {error}") from error
        self._server.call(lambda client: _check_applied([write(client)]), stop=stop)

    def patch(self, records: Sequence[Record], *, merge: bool = False) -> None:
        sizes = check_records(records, self._require_schema())
        for part in split_records(records, sizes):
            self._patch(part, merge=merge)

    def _patch(self, records: Sequence[Record], *, merge: bool) -> None:
        ids = [record.id for record in records]
        points = self._server.call(lambda client: client.retrieve(self._name, ids, False))
        existing = {str(point.id) for point in points}
        found = [record for record in records if record.id in existing]
        steps = [step for one in found for step in _make_patch(one, merge=merge)]

        def update(client: QdrantClient) -> None:
            _check_applied(client.batch_update_points(self._name, steps, wait=True))

        if steps:
            self._server.call(update)

    def delete(self, ids: Sequence[str]) -> None:
        check_ids(ids)
        for part in _chunks(ids, MAX_IDS):

            def delete(client: QdrantClient, part: Sequence[Any] = part) -> None:
                _check_applied([client.delete(self._name, list(part), wait=True)])

            self._server.call(delete)

    def delete_vectors(self, ids: Sequence[str], name: str) -> None:
        check_ids(ids)
        for part in _chunks(ids, MAX_IDS):

            def delete(client: QdrantClient, part: Sequence[Any] = part) -> None:
                _check_applied([client.delete_vectors(self._name, [name], list(part), wait=True)])

            self._server.call(delete)

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredPoint]]:
        simplified = [simplify_query(request) for request in requests]
        prepared = [self._add_search_params(one) for one in simplified if one is not None]
        answers: list[models.QueryResponse] = []
        for part in _chunks(prepared, MAX_QUERIES):

            def ask(client: QdrantClient, part: Any = part) -> list[models.QueryResponse]:
                return client.query_batch_points(self._name, part)

            answers += self._read(ask)
        found = iter([parse_scored_point(point) for point in one.points] for one in answers)
        return [[] if one is None else next(found) for one in simplified]

    def query_union(
        self,
        requests: Sequence[models.QueryRequest],
        rescore: Sequence[models.QueryRequest] = (),
    ) -> list[list[ScoredPoint]]:
        """Run one request, with all of `requests` as prefetch stages of each."""
        from qdrant_client import models

        stages = [
            models.Prefetch(query=r.query, using=r.using, filter=r.filter, limit=r.limit)
            for r in requests
        ]
        limit = sum(r.limit or 0 for r in requests)
        return self.query_batch(
            [
                r.model_copy(update={"prefetch": stages, "limit": limit})
                for r in (*requests, *rescore)
            ]
        )

    def _add_search_params(self, request: Any) -> Any:
        """Add the collection's search parameters to a simplified query, or to a stage of one."""
        if self._search_params is None:
            return request
        change: dict[str, Any] = {}
        if request.params is None:
            change["params"] = self._search_params
        elif not request.params.exact and request.params.quantization is None:
            quantization = self._search_params.quantization
            change["params"] = request.params.model_copy(update={"quantization": quantization})
        if request.prefetch:
            change["prefetch"] = [self._add_search_params(stage) for stage in request.prefetch]
        return request.model_copy(update=change)

    def retrieve(
        self, ids: Sequence[str], *, vectors: bool | Sequence[str] = False
    ) -> list[Record]:
        check_ids(ids)
        wanted, records = self._name_vectors(vectors), list[Record]()
        for part in _chunks(ids, MAX_VECTORS if vectors else MAX_IDS):

            def read(client: QdrantClient, part: Any = part) -> list[models.Record]:
                return client.retrieve(self._name, part, True, wanted)

            records += map(parse_record, self._read(read))
        return records

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        where = simplify_filter(where)
        if matches_nothing(where):
            return [], None
        wanted = self._name_vectors(vectors)
        points, following = self._read(
            lambda client: client.scroll(
                self._name, where, limit, offset=after, with_payload=True, with_vectors=wanted
            )
        )
        return [*map(parse_record, points)], None if following is None else str(following)

    def count(self, where: models.Filter | None = None) -> int:
        where = simplify_filter(where)
        if matches_nothing(where):
            return 0
        result = self._read(lambda client: client.count(self._name, where, exact=True))
        return int(result.count)

    def facet(
        self, key: str, where: models.Filter | None = None, limit: int = 20
    ) -> list[tuple[str, int]]:
        where = simplify_filter(where)
        if matches_nothing(where):
            return []
        limit = min(limit, STRICT_MODE["max_query_limit"])
        result = self._read(lambda client: client.facet(self._name, key, where, limit, exact=True))
        return [(str(hit.value), hit.count) for hit in result.hits]

    def flush(self) -> None:
        """Does nothing: acknowledged writes are durable on a server."""

    def close(self) -> None:
        """Does nothing: the connections are shared within the process."""

    def _name_vectors(self, vectors: bool | Sequence[str]) -> list[str] | bool:
        """Those of the schema for True, which need not be all that the collection has."""
        if not isinstance(vectors, bool):
            return list(vectors)
        schema = self._require_schema()
        return [*dict(schema.dense), *schema.sparse] if vectors else False

    def _require_schema(self) -> Schema:
        if self._schema is None:
            raise StoreError("the collection is not open: call ensure(schema) first")
        return self._schema


def _make_patch(one: Record, *, merge: bool) -> Iterator[models.UpdateOperation]:
    from qdrant_client import models

    # the payload last: after a crash between the two, it tells that the patch is not done
    if one.vectors:
        vectors = models.PointVectors(id=one.id, vector=to_rest_vectors(one))
        yield models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=[vectors]))
    deleted = [key for key, value in one.payload.items() if merge and value is None]
    if deleted:
        keys = models.DeletePayload(keys=deleted, points=[one.id])
        yield models.DeletePayloadOperation(delete_payload=keys)
    kept = {key: value for key, value in one.payload.items() if key not in deleted}
    payload = models.SetPayload(payload=clamp_integers(kept), points=[one.id])
    if merge:
        yield models.SetPayloadOperation(set_payload=payload)
    else:
        yield models.OverwritePayloadOperation(overwrite_payload=payload)


def _check_applied(results: Sequence[models.UpdateResult]) -> None:
    """Raise for writes that timed out; `acknowledged` and `completed` ones are durable."""
    if any(result.status == "wait_timeout" for result in results):
        raise NotAppliedError


def _chunks(items: Sequence[T], most: int) -> Iterator[list[T]]:
    for start in range(0, len(items), most):
        yield list(items[start : start + most])
