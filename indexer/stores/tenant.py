"""One tenant's points of a collection that several share: nothing else is seen or touched."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexer.stores.protocol import Schema, Scored, Store
from indexer.types import Payload, Record

if TYPE_CHECKING:
    from qdrant_client import models

TENANT = "tenant"  # the payload's key; on a server its index keeps a tenant's points together
GROUPS = ("must", "should", "must_not")


@dataclass(frozen=True, slots=True)
class TenantStore:
    """`store`, as `tenant` sees it; None is for the points that belong to nobody.

    The tenant is stamped on payloads as they are written, and taken off as they are read. An id is
    a content's, and two tenants may have the same picture: within the store, a tenant's ids are
    turned by a number of the tenant's own.
    """

    store: Store
    tenant: str | None
    _turn: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_turn", _turn(self.tenant) if self.tenant else 0)

    def ensure(self, schema: Schema) -> None:
        self.store.ensure(schema)

    def upsert(self, records: Sequence[Record]) -> None:
        self.store.upsert(self._written(records))

    def patch(self, records: Sequence[Record]) -> None:
        own = {record.id for record in self.retrieve([record.id for record in records])}
        self.store.patch(self._written([record for record in records if record.id in own]))

    def delete(self, ids: Sequence[str]) -> None:
        self.store.delete([self._turned(record.id) for record in self.retrieve(ids)])

    def query(self, request: models.QueryRequest) -> list[Scored]:
        return self.query_batch([request])[0]

    def query_batch(self, requests: Sequence[models.QueryRequest]) -> list[list[Scored]]:
        answers = self.store.query_batch([self._narrowed(request) for request in requests])
        return [
            [p._replace(id=self._turned(p.id), payload=_plain(p.payload)) for p in points]
            for points in answers
        ]

    def retrieve(self, ids: Sequence[str], *, vectors: bool = False) -> list[Record]:
        _check(ids)
        found = self.store.retrieve([self._turned(id) for id in ids], vectors=vectors)
        return [self._read(record) for record in found if record.payload.get(TENANT) == self.tenant]

    def scroll(
        self,
        where: models.Filter | None = None,
        *,
        limit: int = 1000,
        after: str | None = None,
        vectors: bool = False,
    ) -> tuple[list[Record], str | None]:
        start = self._turned(after) if after else None
        page, following = self.store.scroll(
            self._own(where), limit=limit, after=start, vectors=vectors
        )
        return [self._read(r) for r in page], self._turned(following) if following else None

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

    def _turned(self, id: str) -> str:
        """From our id to the store's, and back."""
        return str(uuid.UUID(int=uuid.UUID(id).int ^ self._turn))

    def _written(self, records: Sequence[Record]) -> list[Record]:
        _check([record.id for record in records])
        stamp = {TENANT: self.tenant} if self.tenant else {}
        return [
            replace(record, id=self._turned(record.id), payload={**record.payload, **stamp})
            for record in records
        ]

    def _read(self, record: Record) -> Record:
        return replace(record, id=self._turned(record.id), payload=_plain(record.payload) or {})

    def _own(self, where: models.Filter | None) -> models.Filter:
        from qdrant_client import models

        mine: models.Condition
        if self.tenant is None:
            mine = models.IsEmptyCondition(is_empty=models.PayloadField(key=TENANT))
        else:
            mine = models.FieldCondition(key=TENANT, match=models.MatchValue(value=self.tenant))
        return models.Filter(must=[mine, self._inner(where)] if where else [mine])

    def _inner(self, condition: Any) -> Any:
        """A filter of ours, or a condition in it, with the store's ids."""
        if hasattr(condition, "has_id"):
            turned = [self._turned(str(id)) for id in condition.has_id]
            return condition.model_copy(update={"has_id": turned})
        groups = {name: getattr(condition, name, None) for name in GROUPS}
        inner = {
            name: [self._inner(one) for one in (found if isinstance(found, list) else [found])]
            for name, found in groups.items()
            if found
        }
        return condition.model_copy(update=inner) if inner else condition

    def _narrowed(self, request: Any) -> Any:
        """A query, or a stage of one, and all the stages that it draws from."""
        stages = request.prefetch
        if stages is not None:
            many = stages if isinstance(stages, list) else [stages]
            stages = [self._narrowed(stage) for stage in many]
        return request.model_copy(update={"filter": self._own(request.filter), "prefetch": stages})


def _check(ids: Sequence[str]) -> None:
    from indexer.stores.validate import check_ids  # it brings numpy, and `status` needs none

    check_ids(ids)


def _turn(tenant: str) -> int:
    from blake3 import blake3

    return int.from_bytes(blake3(b"tenant:" + tenant.encode()).digest()[:16], "big")


def _plain(payload: Payload | None) -> Payload | None:
    if payload is None:
        return None
    return {key: value for key, value in payload.items() if key != TENANT}
