"""Tenants of one collection: the same ids, and nothing of one another."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from qdrant_client import models

from indexer.errors import QueryError
from indexer.search.filter_checks import check_columns, explain_filters, has_column
from indexer.search.filters import build_store_filter, make_filters
from indexer.stores.base import Schema
from indexer.stores.edge.store import EdgeStore
from indexer.stores.tenant import TenantStore
from indexer.types import Record, SparseVector
from tests.memory_store import open_memory_store

DIM = 8
SCHEMA = Schema((("image", DIM), ("text", DIM)), ("bm25",), ("kind", "tags"), ("year",))


def rows(seed: int, count: int = 12) -> list[Record]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        row = rng.standard_normal(DIM).astype(np.float32)
        vectors = {"image": row / np.linalg.norm(row), "bm25": SparseVector((i % 3,), (1.0,))}
        payload = {"kind": "image", "tags": [f"t{i % 2}"], "year": 2000 + seed, "from": seed}
        out.append(Record(str(uuid.UUID(int=i + 1)), vectors, payload))
    return out


@pytest.fixture(params=["edge", "memory"])
def shared(request, tmp_path):
    store = EdgeStore(tmp_path) if request.param == "edge" else open_memory_store(SCHEMA)
    store.ensure(SCHEMA)
    yield store
    store.close()


@pytest.fixture
def tenants(shared) -> dict[str | None, TenantStore]:
    """Three with the same ids: two tenants, and what belongs to nobody."""
    found = {name: TenantStore(shared, name) for name in ("acme", "bolt", None)}
    for seed, store in enumerate(found.values()):
        store.upsert(rows(seed))
    return found


def test_filters_see_nothing_of_the_others(shared, tenants):
    payload = {"kind": "image", "tags": ["secret"], "meta": {"EXIF:Make": "Canon"}}
    tenants["acme"].upsert([Record(str(uuid.UUID(int=99)), {}, payload)])
    where = make_filters({"EXIF:Make": "Canon", "kind": {"not": "text"}})
    contradiction = make_filters({"tags": {"any": "t0", "not": "t0"}})
    for name, count in (("acme", 1), ("bolt", 0), (None, 0)):
        assert tenants[name].count(build_store_filter(where)) == count
        assert tenants[name].count(build_store_filter(contradiction)) == 0
        assert has_column(tenants[name], "meta.EXIF:Make") == bool(count)
    with pytest.raises(QueryError, match="no item has the key 'EXIF:Make'; the keys are") as error:
        check_columns(tenants["bolt"], where)
    assert "EXIF" not in str(error.value).partition(";")[2]
    hint = explain_filters(tenants["bolt"], make_filters({"tag": "secrets"}), is_empty=True)
    assert hint == "No item has tags=secrets."


def test_each_has_its_own_points_under_the_same_ids(shared, tenants):
    assert shared.count() == 36
    for seed, store in enumerate(tenants.values()):
        assert store.count() == 12
        found = store.retrieve([r.id for r in rows(0)], vectors=True)
        assert {r.id for r in found} == {r.id for r in rows(0)}
        assert {r.payload["from"] for r in found} == {seed}
        assert all("tenant" not in r.payload for r in found)
        right = {r.id: r.vectors["image"] for r in rows(seed)}
        assert all(np.allclose(r.vectors["image"], right[r.id], atol=5e-3) for r in found)
    assert dict(shared.facet("kind")) == {"image": 36}
    assert dict(tenants["acme"].facet("tags")) == {"t0": 6, "t1": 6}


def test_scrolling_returns_the_tenants_own_points(tenants):
    for seed, store in enumerate(tenants.values()):
        seen, after = [], None
        while True:
            page, after = store.scroll(limit=5, after=after)
            seen += page
            if after is None:
                break
        assert sorted(r.id for r in seen) == [r.id for r in rows(seed)]
        assert {r.payload["from"] for r in seen} == {seed}


def nearest(vector, **more) -> models.QueryRequest:
    return models.QueryRequest(
        query=vector.tolist(), using="image", limit=50, with_payload=True, **more
    )


def test_queries_and_filters_are_limited_to_the_tenant(tenants):
    vector = rows(1)[0].vectors["image"]
    for seed, store in enumerate(tenants.values()):
        found = store.query_batch([nearest(vector)])[0]
        assert {p.payload["from"] for p in found} == {seed}
        assert len(found) == 12
    some = [r.id for r in rows(0)[:3]]
    among = models.Filter(must=[models.HasIdCondition(has_id=some)])
    nested = models.Filter(should=[among, models.Filter(must_not=[among])])
    assert {p.id for p in tenants["bolt"].query_batch([nearest(vector, filter=among)])[0]} == set(
        some
    )
    assert len(tenants["bolt"].query_batch([nearest(vector, filter=nested)])[0]) == 12
    assert tenants["bolt"].count(models.Filter(must_not=[among])) == 9


def test_patching_and_deleting_change_own_points_only(shared, tenants):
    first = rows(0)[0]
    tenants["acme"].patch([Record(first.id, {}, {"kind": "patched"})])
    assert tenants["acme"].retrieve([first.id])[0].payload == {"kind": "patched"}
    assert tenants["bolt"].retrieve([first.id])[0].payload["kind"] == "image"
    tenants["acme"].delete([r.id for r in rows(0)])
    assert [store.count() for store in tenants.values()] == [0, 12, 12]
    tenants["acme"].patch([first])
    assert shared.count() == 24, "no ghost"


def test_an_invalid_id_is_refused(tenants):
    from indexer.errors import StoreError

    for call in (tenants["acme"].retrieve, tenants["acme"].delete):
        with pytest.raises(StoreError, match="UUID"):
            call(["../../etc"])


def test_prefetch_stages_are_refused(tenants):
    """They would find the points of other tenants."""
    from indexer.errors import StoreError

    vector = rows(1)[0].vectors["image"]
    stage = models.Prefetch(query=vector.tolist(), using="image")
    with pytest.raises(StoreError, match="prefetch"):
        tenants["acme"].query_batch([nearest(vector, prefetch=stage)])[0]
