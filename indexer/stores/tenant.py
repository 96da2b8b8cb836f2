"""The points of one tenant in a shared collection; no other points are read or written."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexer.errors import StoreError
from indexer.stores.base import TENANT_KEY, Schema, ScoredPoint, Store, check_ids
from indexer.types import Payload, Record

if TYPE_CHECKING:
    from qdrant_client import models

CLAUSES = ("must", "should", "must_not")


@dataclass(frozen=True, slots=True)
class TenantStore:
    """The view of `tenant` on `store`; None selects the points without a tenant.

    The tenant is added to payloads on writing and removed on reading. Ids are derived from the
    content, and two tenants may have the same image: within the store, ids are XORed with a mask
    derived from the tenant's name.
    """

    store: Store
    tenant: str | None
    _id_mask: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_id_mask", _make_id_mask(self.tenant) if self.tenant else 0)

    def ensure(self, schema: Schema) -> None:
        self.store.ensure(schema)

    def alter(self, schema: Schema) -> None:
        self.store.alter(schema)

    def upsert(self, records: Sequence[Record], stop: threading.Event | None = None) -> None:
        self.store.upsert(self._to_stored(records), stop)

    def patch(self, records: Sequence[Record], *, merge: bool = False) -> None:
        own = {record.id for record in self.retrieve([record.id for record in records])}
        stored = self._to_stored([record for record in records if record.id in own])
        self.store.patch(stored, merge=merge)

    def delete(self, ids: Sequence[str]) -> None:
        self.store.delete([self._mask_id(record.id) for record in self.retrieve(ids)])

    def delete_vectors(self, ids: Sequence[str], name: str) -> None:
        own = [self._mask_id(record.id) for record in self.retrieve(ids)]
        self.store.delete_vectors(own, name)

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredPoint]]:
        return self._from_answers(self.store.query_batch([*map(self._narrow_request, requests)]))

    def query_union(
        self,
        requests: Sequence[models.QueryRequest],
        rescore: Sequence[models.QueryRequest] = (),
    ) -> list[list[ScoredPoint]]:
        own = [[*map(self._narrow_request, some)] for some in (requests, rescore)]
        return self._from_answers(self.store.query_union(*own))

    def retrieve(
        self, ids: Sequence[str], *, vectors: bool | Sequence[str] = False
    ) -> list[Record]:
        check_ids(ids)
        records = self.store.retrieve([self._mask_id(id) for id in ids], vectors=vectors)
        return [
            self._from_stored(record)
            for record in records
            if record.payload.get(TENANT_KEY) == self.tenant
        ]

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        start = self._mask_id(after) if after else None
        page, following = self.store.scroll(
            self._with_tenant_filter(where), limit=limit, after=start, vectors=vectors
        )
        return [self._from_stored(r) for r in page], self._mask_id(following) if following else None

    def count(self, where: models.Filter | None = None) -> int:
        return self.store.count(self._with_tenant_filter(where))

    def facet(
        self, key: str, where: models.Filter | None = None, limit: int = 20
    ) -> list[tuple[str, int]]:
        return self.store.facet(key, self._with_tenant_filter(where), limit)

    def flush(self) -> None:
        self.store.flush()

    def close(self) -> None:
        self.store.close()

    def _mask_id(self, id: str) -> str:
        """Convert an id to the store's id, or back."""
        return str(uuid.UUID(int=uuid.UUID(id).int ^ self._id_mask))

    def _to_stored(self, records: Sequence[Record]) -> list[Record]:
        check_ids([record.id for record in records])
        stamp = {TENANT_KEY: self.tenant} if self.tenant else {}
        return [
            replace(record, id=self._mask_id(record.id), payload={**record.payload, **stamp})
            for record in records
        ]

    def _from_stored(self, record: Record) -> Record:
        return replace(
            record, id=self._mask_id(record.id), payload=_strip_tenant(record.payload) or {}
        )

    def _with_tenant_filter(self, where: models.Filter | None) -> models.Filter:
        from qdrant_client import models

        own: models.Condition
        if self.tenant is None:
            own = models.IsEmptyCondition(is_empty=models.PayloadField(key=TENANT_KEY))
        else:
            own = models.FieldCondition(key=TENANT_KEY, match=models.MatchValue(value=self.tenant))
        return models.Filter(must=[own, self._mask_condition(where)] if where else [own])

    def _mask_condition(self, condition: Any) -> Any:
        """Convert the ids in a filter, or in a condition of one, to the store's."""
        if hasattr(condition, "has_id"):
            masked = [self._mask_id(str(id)) for id in condition.has_id]
            return condition.model_copy(update={"has_id": masked})
        groups = {name: getattr(condition, name, None) for name in CLAUSES}
        inner = {
            name: [
                self._mask_condition(one)
                for one in (clause if isinstance(clause, list) else [clause])
            ]
            for name, clause in groups.items()
            if clause
        }
        return condition.model_copy(update=inner) if inner else condition

    def _from_answers(self, answers: list[list[ScoredPoint]]) -> list[list[ScoredPoint]]:
        return [
            [p._replace(id=self._mask_id(p.id), payload=_strip_tenant(p.payload)) for p in points]
            for points in answers
        ]

    def _narrow_request(self, request: Any) -> Any:
        if request.prefetch is not None:  # its stages would not be limited to the tenant
            raise StoreError("a query with prefetch stages cannot be limited to a tenant")
        return request.model_copy(update={"filter": self._with_tenant_filter(request.filter)})


def _make_id_mask(tenant: str) -> int:
    from blake3 import blake3

    return int.from_bytes(blake3(b"tenant:" + tenant.encode()).digest()[:16], "big")


def _strip_tenant(payload: Payload | None) -> Payload | None:
    if payload is None:
        return None
    return {key: value for key, value in payload.items() if key != TENANT_KEY}
