"""One suite for every store, against exact numpy."""

from __future__ import annotations

import importlib.util
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from indexer.captions.normalize import normalize_key
from indexer.collections import BACKENDS, open_backend
from indexer.collections.schema import make_schema
from indexer.errors import StoreError
from indexer.search.filter_checks import has_column
from indexer.search.filters import build_store_filter, make_filters
from indexer.stores.base import Layout
from indexer.stores.edge import store as edge_store
from indexer.stores.edge.store import EdgeStore
from indexer.types import Record, SparseVector
from tests.memory_store import open_memory_store

_spec = importlib.util.spec_from_file_location("exact", Path(__file__).with_name("exact.py"))
exact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exact)

DIM = 32


def unit(rng) -> np.ndarray:
    row = rng.standard_normal(DIM).astype(np.float32)
    return row / np.linalg.norm(row)


def make(count: int, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    records = []
    for i in range(count):
        vectors = {"image": unit(rng), "bm25": SparseVector((i % 7, 100 + i), (1.0, 0.5))}
        if i % 3 == 0:
            vectors["text"] = unit(rng)
        payload = {
            "kind": "image" if i % 4 else "text",
            "tags": [f"t{i % 5}", f"t{i % 3}"],
            "folder": [f"/p/{i % 6}"],
            "year": 2000 + i % 20,
        }
        records.append(Record(str(uuid.UUID(int=seed * 10**6 + i + 1)), vectors, payload))
    return records


KINDS = [next(s for s in BACKENDS if BACKENDS[s] == b) for b in dict.fromkeys(BACKENDS.values())]
"""A scheme of each registered kind of store."""


@pytest.fixture(
    params=[pytest.param(k, marks=pytest.mark.server if k else ()) for k in [*KINDS, "grpc"]]
    + ["memory"]
)
def store(request, config, colors, in_process):
    """An empty collection in each registered kind of store; test_edge_server.py has the process
    of one in a folder."""
    if request.param == "memory":
        yield open_memory_store(make_schema(DIM))
        return
    settings = request.getfixturevalue(f"{request.param or 'folder'}_store")
    backend = open_backend(replace(config, **settings))
    index = backend.create(settings["collection"], replace(colors.card, dim=DIM), Layout())
    with closing(backend.open(index)) as opened:
        yield opened


@pytest.fixture
def filled(store):
    records = make(300)
    store.upsert(records)
    return store, exact.Exact(records)


def nearest(store, name, query, where=None, limit=10):
    request = models.QueryRequest(query=query.tolist(), using=name, filter=where, limit=limit)
    return [(str(p.id), p.score) for p in store.query_batch([request])[0]]


@pytest.mark.parametrize("name", ["image", "text"])
def test_nearest_agrees_with_exact(filled, name):
    store, truth = filled
    for seed in range(10):
        query = unit(np.random.default_rng(100 + seed))
        found, right = nearest(store, name, query), truth.nearest(name, query)[:10]
        assert [id for id, _ in found][:3] == [id for id, _ in right][:3]
        assert np.allclose([s for _, s in found], [s for _, s in right], atol=5e-3)


def _match(match) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="kind", match=match)])


def random_filter(rng, depth=2) -> dict:
    def condition():
        kind = rng.integers(4 if depth else 3)
        if kind == 0:
            return {"key": "kind", "match": {"value": str(rng.choice(["image", "text"]))}}
        if kind == 1:
            return {"key": "tags", "match": {"any": [f"t{rng.integers(6)}", f"t{rng.integers(6)}"]}}
        if kind == 2:
            low = float(rng.integers(1998, 2022))
            return {"key": "year", "range": {"gte": low, "lte": low + float(rng.integers(8))}}
        return random_filter(rng, depth - 1)

    clauses = {}
    for name in ("must", "should", "must_not"):
        if rng.random() < 0.6:
            clauses[name] = [condition() for _ in range(rng.integers(1, 3))]
    return clauses or {"must": [condition()]}


def test_filters_agree_with_exact(filled):
    store, truth = filled
    rng = np.random.default_rng(7)
    for _ in range(60):
        plain = random_filter(rng)
        where = models.Filter.model_validate(plain)
        right = truth.matching(plain)
        assert store.count(where) == len(right), plain
        assert {r.id for r in store.scroll(where, limit=1000)[0]} == right, plain


COLUMNS = (
    "plain", "date taken", "EXIF:Make", "Width (cm)", "a.b", "a=b", "x[0]", "x[]", "it's", "wow!",
    'say "hi"', "back\\slash", "Größe", "幅", "#", "<>", "-",
)  # fmt: skip


def test_columns_of_any_name(store):
    """Names that a path of a payload needs quotes for, or cannot hold."""
    names = [normalize_key(name) for name in COLUMNS]
    records = [
        Record(str(uuid.UUID(int=i)), {}, {"meta": {name: i, "n": 1, "t": "a, b"}, "year": i})
        for i, name in enumerate(names, 1)
    ]
    store.upsert(records)
    for i, name in enumerate(COLUMNS, 1):
        for value in (i, f"{i}..{i}"):
            (found,), _ = store.scroll(build_store_filter(make_filters({name: value})))
            assert found.payload["meta"][names[i - 1]] == i
        others = build_store_filter(make_filters({name: {"not": i}, "t": "a, b"}))
        assert store.count(others) == len(COLUMNS) - 1
        assert has_column(store, *make_filters({name: i}))
    assert not has_column(store, "meta.other column")


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"kind": {"not": "text"}}, 225),
        ({"kind": {"not": ["text", "image"]}}, 0),
        ({"year": {"not": "2000..2004"}}, 225),
        ({"year": {"any": "2000..2004", "not": 2000}}, 60),
        ({"tags": {"any": "t1", "not": "t1"}}, 0),
        ({"kind": {"any": ["text", "image"], "not": "image"}}, 75),
    ],
)
def test_exclusions_and_contradictions(filled, filters, count):
    assert filled[0].count(build_store_filter(make_filters(filters))) == count


def test_a_filter_that_contradicts_itself_finds_nothing(filled):
    """Qdrant 1.19 finds all that have the value."""
    store, _ = filled
    match = models.FieldCondition(key="tags", match=models.MatchAny(any=["t1"]))
    where = models.Filter(must=[match], must_not=[match])
    possible = models.Filter(must=[match])
    assert (store.count(where), store.scroll(where), store.facet("kind", where)) == (
        0,
        ([], None),
        [],
    )
    query = unit(np.random.default_rng(3)).tolist()
    requests = [
        models.QueryRequest(query=query, using="image", filter=one, limit=5)
        for one in (where, possible, where)
    ]
    assert [len(found) for found in store.query_batch(requests)] == [0, 5, 0]
    assert [len(found) for found in store.query_union(requests)] == [0, 5, 0]


def test_filtered_search_agrees_with_exact(filled):
    store, truth = filled
    plain = {
        "must": [{"key": "tags", "match": {"any": ["t1"]}}],
        "must_not": [{"key": "kind", "match": {"value": "text"}}],
    }
    query = unit(np.random.default_rng(3))
    found = nearest(store, "image", query, models.Filter.model_validate(plain), 5)
    assert [id for id, _ in found][:2] == [id for id, _ in truth.nearest("image", query, plain)][:2]


def test_rare_words_count_more(filled):
    store, _ = filled
    query = models.SparseVector(indices=[3, 110], values=[1.0, 1.0])
    found = store.query_batch([models.QueryRequest(query=query, using="bm25", limit=5)])[0]
    assert str(found[0].id) == str(uuid.UUID(int=11))


def test_several_queries_in_one_request(filled):
    store, _ = filled
    query = unit(np.random.default_rng(1))
    requests = [
        models.QueryRequest(query=query.tolist(), using=n, limit=4) for n in ("image", "text")
    ]
    assert [len(points) for points in store.query_batch(requests)] == [4, 4]


def test_a_union_is_scored_by_every_query(filled):
    """Each request scores what the others find too, as if it had been asked for those points."""
    store, _ = filled
    a, b = unit(np.random.default_rng(1)), unit(np.random.default_rng(2))
    requests = [
        models.QueryRequest(query=vector.tolist(), using=name, limit=4)
        for vector, name in ((a, "image"), (b, "text"))
    ]
    alone = [{p.id: p.score for p in points} for points in store.query_batch(requests)]
    union = set(alone[0]) | set(alone[1])
    assert len(union) > 4
    for request, own, points in zip(requests, alone, store.query_union(requests), strict=True):
        scores = {point.id: point.score for point in points}
        among = models.Filter(must=[models.HasIdCondition(has_id=sorted(union))])
        asked = request.model_copy(update={"filter": among, "limit": len(union)})
        expected = {point.id: point.score for point in store.query_batch([asked])[0]}
        assert scores.keys() == expected.keys() >= own.keys()
        for id, score in expected.items():
            assert scores[id] == pytest.approx(score, abs=1e-5)


def test_rescoring_adds_nothing_to_a_union(filled):
    store, _ = filled
    a, b = (unit(np.random.default_rng(seed)).tolist() for seed in (1, 2))
    first = models.QueryRequest(query=a, using="image", limit=6)
    second = models.QueryRequest(query=b, using="image", limit=6)
    found, rescored = store.query_union([first], [second])
    assert [p.id for p in found] == [p.id for p in store.query_batch([first])[0]]
    assert {p.id for p in rescored} == {p.id for p in found}
    among = models.Filter(must=[models.HasIdCondition(has_id=[p.id for p in found])])
    (asked,) = store.query_batch([second.model_copy(update={"filter": among})])
    assert {p.id: p.score for p in rescored} == pytest.approx({p.id: p.score for p in asked})


def test_a_sample_is_random_and_whole(filled):
    store, _ = filled
    request = models.QueryRequest(
        query=models.SampleQuery(sample=models.Sample.RANDOM), limit=50, with_vector=["image"]
    )
    first, second = ({str(p.id) for p in store.query_batch([request])[0]} for _ in range(2))
    assert len(first) == len(second) == 50
    assert first != second


def test_facets_count(filled):
    store, truth = filled
    counts = dict(store.facet("folder", None, 10))
    assert counts == {f"/p/{i}": 50 for i in range(6)}
    where = {"must": [{"key": "kind", "match": {"value": "text"}}]}
    assert sum(dict(store.facet("folder", models.Filter.model_validate(where))).values()) == len(
        truth.matching(where)
    )


def test_scroll_pages_contain_every_point_once(filled):
    store, truth = filled
    seen, after = [], None
    while True:
        page, after = store.scroll(limit=64, after=after)
        seen += [r.id for r in page]
        if after is None:
            break
    assert sorted(seen) == sorted(truth.records)


def test_upsert_replaces_the_whole_point(store):
    record = make(1)[0]
    store.upsert([record])
    store.upsert([Record(record.id, {"text": record.vectors["image"]}, {"kind": "new"})])
    found = store.retrieve([record.id], vectors=True)[0]
    assert set(found.vectors) == {"text"}
    assert found.payload == {"kind": "new"}


def test_patch_keeps_what_is_not_given(store):
    record = make(1)[0]
    store.upsert([record])
    text = unit(np.random.default_rng(9))
    store.patch([Record(record.id, {"text": text}, {"kind": "patched"})])
    found = store.retrieve([record.id], vectors=True)[0]
    assert found.payload == {"kind": "patched"}
    assert np.allclose(found.vectors["text"], text, atol=5e-3)
    assert np.allclose(found.vectors["image"], record.vectors["image"], atol=5e-3)


def test_a_patch_that_merges_changes_only_the_keys_that_are_given(store):
    records = make(2)
    store.upsert(records)
    changed, other = records
    store.patch([Record(changed.id, {}, {"tags": ["new"], "year": None})], merge=True)
    found = {record.id: record for record in store.retrieve([r.id for r in records], vectors=True)}
    expected = {**changed.payload, "tags": ["new"]}
    del expected["year"]
    assert found[changed.id].payload == expected
    assert found[changed.id].vectors.keys() == changed.vectors.keys()
    assert found[other.id].payload == other.payload
    assert store.count(build_store_filter(make_filters({"tags": "new"}))) == 1


def test_patch_creates_no_points(store):
    store.patch([make(1)[0]])
    store.patch([make(1)[0]], merge=True)
    assert store.count() == 0


def test_delete(filled):
    store, truth = filled
    gone = sorted(truth.records)[:10]
    store.delete(gone)
    assert store.count() == 290
    assert store.retrieve(gone) == []


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ({"image": np.full(DIM, np.nan, np.float32)}, "finite"),
        ({"image": np.ones(DIM + 1, np.float32)}, "shape"),
        ({"picture": np.ones(DIM, np.float32)}, "no such vector"),
        ({"bm25": SparseVector((1, 2), (1.0,))}, "2 indices"),
        ({"bm25": SparseVector((1, 1), (1.0, 2.0))}, "twice"),
    ],
)
def test_a_batch_with_an_invalid_record_is_refused(store, vectors, says):
    good = make(3)
    bad = Record(str(uuid.UUID(int=99)), vectors, {})
    with pytest.raises(StoreError, match=says):
        store.upsert([*good, bad])
    assert store.count() == 0


def test_an_invalid_or_too_large_payload_is_refused(store):
    for payload in ({"x": object()}, {"x": float("nan")}, {"x": "y" * (2 << 20)}):
        with pytest.raises(StoreError, match="payload"):
            store.upsert([Record(str(uuid.UUID(int=1)), {}, payload)])


def test_numbers_of_more_than_64_bits(store):
    """A column of a user's table may hold them."""
    (point,) = make(1)
    for number in (1 << 70, -(1 << 70)):
        for write in (store.upsert, store.patch):
            write([Record(point.id, point.vectors, {"meta": {"n": [number, 7]}})])
            (found,) = store.retrieve([point.id])
            assert found.payload["meta"]["n"] == [pytest.approx(number), 7]


def test_ids_are_uuids(store):
    with pytest.raises(StoreError, match="UUID"):
        store.retrieve(["../../etc"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prefetch": models.Prefetch(query=[1.0] * DIM, using="image")}, "query with prefetch"),
        ({"query": models.FusionQuery(fusion=models.Fusion.RRF)}, "score by fusion"),
        ({"filter": _match(models.MatchText(text="a"))}, "match by text"),
        ({"filter": _match(models.MatchValue(value=True))}, "treats true as 1"),
        ({"filter": models.Filter(must=[models.HasVectorCondition(has_vector="image")])}, "filter"),
    ],
)
def test_the_embedded_store_refuses_what_it_cannot_do(tmp_path, change, message):
    with closing(EdgeStore(tmp_path)) as store:
        store.ensure(make_schema(DIM))
        request = models.QueryRequest(query=[1.0] * DIM, using="image").model_copy(update=change)
        with pytest.raises(StoreError, match=message):
            store.query_batch([request])[0]


def test_a_vector_is_added_to_a_collection_that_has_points_and_deleted(filled):
    store, truth = filled
    records = make(300)
    store.alter(make_schema(DIM, names=False))
    assert {"image", "bm25"} <= store.retrieve([records[0].id], vectors=True)[0].vectors.keys()
    assert store.retrieve([records[0].id], vectors=["image"])[0].vectors.keys() == {"image"}
    store.alter(make_schema(DIM))
    store.alter(make_schema(DIM))  # does nothing
    named = unit(np.random.default_rng(7))
    store.patch([replace(r, vectors={"name": named}) for r in records[:3]])
    assert {id for id, _ in nearest(store, "name", named)} == {r.id for r in records[:3]}
    store.delete_vectors([records[0].id, records[9].id], "name")
    assert {id for id, _ in nearest(store, "name", named)} == {r.id for r in records[1:3]}
    store.alter(make_schema(DIM, names=False))
    (record,) = store.retrieve([records[1].id], vectors=True)
    assert record.payload == records[1].payload
    assert record.vectors.keys() == records[1].vectors.keys()
    query = unit(np.random.default_rng(8))
    found, right = nearest(store, "image", query), truth.nearest("image", query)[:10]
    assert [id for id, _ in found][:3] == [id for id, _ in right][:3]
    if isinstance(store, EdgeStore):
        assert store.check([record.id for record in records]) == {}


def test_points_in_the_order_of_their_dates(store):
    """Those without a date, or with what is none, are not found by it."""
    dates = ["2019-07-14T10:00:00", "2019-07-14T10:00:00.25+00:00", "2019-07-14T12:30:00+02:00",
             "1899-12-31T23:59:59", "2020-01-01", "in spring", None]  # fmt: skip
    records = [
        Record(str(uuid.UUID(int=i)), {}, {"added": date} if date else {})
        for i, date in enumerate(dates, 1)
    ]
    store.upsert(records)

    def find(direction, where=None, **page) -> list[int]:
        order = models.OrderByQuery(order_by=models.OrderBy(key="added", direction=direction))
        request = models.QueryRequest(query=order, filter=where, **{"limit": 9, **page})
        return [uuid.UUID(point.id).int for point in store.query_batch([request])[0]]

    assert find(models.Direction.ASC) == [4, 1, 2, 3, 5]
    assert find(models.Direction.DESC) == [5, 3, 2, 1, 4]
    assert find(models.Direction.DESC, limit=2, offset=3) == [1, 4]
    summer = models.DatetimeRange(gte="2019-07-14T10:00:00.1Z", lt="2020-01-01T00:00:00Z")
    where = models.Filter(must=[models.FieldCondition(key="added", range=summer)])
    assert find(models.Direction.ASC, where) == [2, 3]
    assert store.count(models.Filter(must_not=where.must)) == 5
    if isinstance(store, EdgeStore):
        assert store.check_filters([record.id for record in records]) == []


def test_an_embedded_store_of_an_earlier_version_gets_the_indexes_that_it_lacks(
    tmp_path, in_process
):
    older = replace(make_schema(DIM), datetimes=())
    record = Record(str(uuid.UUID(int=1)), {}, {"added": "2019-07-14T10:00:00"})
    order = models.OrderByQuery(order_by=models.OrderBy(key="added"))
    for schema in (older, make_schema(DIM)):
        with closing(edge_store.EdgeStore(tmp_path)) as store:
            store.ensure(schema)
            store.upsert([record])
            if schema is not older:
                request = models.QueryRequest(query=order, limit=5)
                assert [point.id for point in store.query_batch([request])[0]] == [record.id]
