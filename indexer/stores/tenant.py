"""One tenant's points of a collection that several share: nothing else is seen or touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from indexer.stores.protocol import Schema, Scored, Store
from indexer.types import Payload, Record

if TYPE_CHECKING:
    from qdrant_client import models

TENANT = "tenant"  # the payload's key; on a server its index keeps a tenant's points together


@dataclass(frozen=True, slots=True)
class TenantStore:
    """`store`, as `tenant` sees it; None is for the points that belong to nobody.

    The tenant is stamped on payloads as they are written and taken off as they are read.
    """

    store: Store
    tenant: str | None

    def ensure(self, schema: Schema) -> None:
        self.store.ensure(schema)

    def upsert(self, records: Sequence[Record]) -> None:
        self.store.upsert([self._stamped(record) for record in records])

    def patch(self, records: Sequence[Record]) -> None:
        own = {record.id for record in self.retrieve([record.id for record in records])}
        self.store.patch([self._stamped(record) for record in records if record.id in own])

    def delete(self, ids: Sequence[str]) -> None:
        self.store.delete([record.id for record in self.retrieve(ids)])

    def query(self, request: models.QueryRequest) -> list[Scored]:
        return self.query_batch([request])[0]

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[Scored]]:
        answers = self.store.query_batch([self._narrowed(request) for request in requests])
        return [[point._replace(payload=_plain(point.payload)) for point in a] for a in answers]

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Record]:
        found = self.store.retrieve(ids, vectors=vectors)
        return [_read(record) for record in found if record.payload.get(TENANT) == self.tenant]

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        page, following = self.store.scroll(
            self._own(where), limit=limit, after=after, vectors=vectors
        )
        return [_read(record) for record in page], following

    def count(self, where: models.Filter | None = None) -> int:
        return self.store.count(self._own(where))

    def facet(
        self, key: str, where: models.Filter | None = None, limit: int = 20
    ) -> list[tuple[str, int]]:
        return self.store.facet(key, self._own(where), limit)

    def flush(self) -> None:
        self.store.flush()

    def close(self) -> None:
        self.store.close()

    def _stamped(self, record: Record) -> Record:
        if self.tenant is None:
            return record
        return replace(record, payload={**record.payload, TENANT: self.tenant})

    def _own(self, where: models.Filter | None) -> models.Filter:
        from qdrant_client import models

        mine: models.Condition
        if self.tenant is None:
            mine = models.IsEmptyCondition(is_empty=models.PayloadField(key=TENANT))
        else:
            mine = models.FieldCondition(key=TENANT, match=models.MatchValue(value=self.tenant))
        return models.Filter(must=[mine, where] if where else [mine])

    def _narrowed(self, request: Any) -> Any:
        """A query, or a stage of one, and all the stages that it draws from."""
        stages = request.prefetch
        if stages is not None:
            many = stages if isinstance(stages, list) else [stages]
            stages = [self._narrowed(stage) for stage in many]
        return request.model_copy(update={"filter": self._own(request.filter), "prefetch": stages})


def _read(record: Record) -> Record:
    return replace(record, payload=_plain(record.payload) or {})


def _plain(payload: Payload | None) -> Payload | None:
    if payload is None:
        return None
    return {key: value for key, value in payload.items() if key != TENANT}
