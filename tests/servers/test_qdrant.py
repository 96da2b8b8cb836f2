"""The stand-in answers as qdrant-client's local engine does, over HTTP and over gRPC."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tests.ranking import assert_same_ranking

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
DIM = 8
KEYWORD, INTEGER = models.PayloadSchemaType.KEYWORD, models.PayloadSchemaType.INTEGER
NEAREST = np.random.default_rng(9).standard_normal(DIM).tolist()
RED = models.FieldCondition(key="color", match=models.MatchValue(value="red"))
YOUNG = models.FieldCondition(key="year", range=models.Range(gte=2010))
TAGGED = models.FieldCondition(key="tags", match=models.MatchAny(any=["t1", "t2"]))
WHERE = models.Filter(must=[TAGGED], must_not=[RED], should=[YOUNG])


def connect(server, over: str = "http", **more) -> QdrantClient:
    return QdrantClient(
        url=server.url,
        api_key=more.pop("api_key", server.api_key),
        grpc_port=server.grpc_port or 6334,
        prefer_grpc=over == "grpc",
        timeout=more.pop("timeout", 10),
        check_compatibility=False,
        grpc_options={"grpc.use_local_subchannel_pool": 1, **more.pop("grpc_options", {})},
        **more,
    )


@pytest.fixture(params=["http", "grpc"])
def client(request, qdrant):
    if request.param == "grpc" and qdrant.grpc_port is None:
        pytest.skip("set POLYLENS_QDRANT_GRPC_PORT too")
    return shared(qdrant, request.param, qdrant.url, qdrant.grpc_port)


@cache
def shared(server, over: str, url: str, grpc_port: int) -> QdrantClient:
    """A client takes longer to make than most tests take; after a test that stops it the server
    has other ports."""
    return connect(server, over)


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Clients that are left until Python ends cannot close what they hold."""
    yield
    shared.cache_clear()


@pytest.fixture(scope="module")
def plain() -> QdrantClient:
    """What the answers are measured against."""
    return fill(QdrantClient(":memory:"))


def fill(client: QdrantClient, name: str = "c") -> QdrantClient:
    client.create_collection(
        name,
        {"image": models.VectorParams(size=DIM, distance=models.Distance.COSINE)},
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata={"polylens": {"name": name, "format": 1}},
    )
    for key, kind in (("color", KEYWORD), ("tags", KEYWORD), ("year", INTEGER)):
        client.create_payload_index(name, key, kind)
    client.upsert(name, points())
    return client


def points() -> list[models.PointStruct]:
    rng = np.random.default_rng(0)
    return [
        models.PointStruct(
            id=str(uuid.UUID(int=i + 1)),
            vector={
                "image": rng.standard_normal(DIM).tolist(),
                # no two alike: where scores are equal, their ranks in a fusion are random
                "bm25": models.SparseVector(indices=[i % 7, 50 + i], values=[1.0 + i / 128, 0.5]),
            },
            payload={
                "color": ("red", "green", "blue")[i % 3],
                "tags": [f"t{i % 4}", f"u{i % 2}"],
                "year": 2000 + i,
                "nothing": None,
                "nested": {"deep": [1, 2.5, True, "text"]},
            },
        )
        for i in range(40)
    ]


def same(found, wanted) -> None:
    """The same points in the same order, but for the last digits of float32 and the order of ties.

    Of a query, `wanted` may go on after the end of `found`.
    """
    if found and hasattr(found[0], "score"):
        assert_same_ranking(ranking(found), ranking(wanted))
    else:
        assert [p.id for p in found] == [p.id for p in wanted]
    by_id = {p.id: p for p in wanted}
    for ours in found:
        theirs = by_id[ours.id]
        assert ours.payload == theirs.payload
        for name, vector in (theirs.vector or {}).items():
            mine = ours.vector[name]
            if isinstance(vector, models.SparseVector):
                assert (mine.indices, mine.values) == (vector.indices, vector.values)
            else:
                assert mine == pytest.approx(vector, abs=1e-6)


def ranking(points) -> list[tuple[str, float]]:
    return [(p.id, p.score if p.order_value is None else p.order_value) for p in points]


QUERIES = {
    "vector": {"query": NEAREST, "using": "image", "with_vectors": True},
    "filter": {"query": NEAREST, "using": "image", "query_filter": WHERE, "limit": 5},
    "words": {
        "query": models.SparseVector(indices=[3, 53], values=[1.0, 1.0]),
        "using": "bm25",
        "with_payload": ["color"],
        "limit": 4,
    },
    "id": {"query": str(uuid.UUID(int=5)), "using": "image", "offset": 2, "with_payload": False},
    "threshold": {"query": NEAREST, "using": "image", "score_threshold": 0.3},
    "fused": {
        "prefetch": [
            models.Prefetch(query=NEAREST, using="image", filter=WHERE, limit=9),
            models.Prefetch(
                query=models.SparseVector(indices=[3], values=[1.0]), using="bm25", limit=9
            ),
        ],
        "query": models.RrfQuery(rrf=models.Rrf(k=60)),
    },
    "newest": {
        "query": models.OrderByQuery(
            order_by=models.OrderBy(key="year", direction=models.Direction.DESC)
        ),
        "limit": 7,
    },
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_queries(client, plain, query):
    fill(client)
    found = client.query_points("c", **query).points
    assert len(found) == len(plain.query_points("c", **query).points) > 0
    same(found, plain.query_points("c", **query | {"limit": len(points())}).points)


def test_queries_of_a_batch(client, plain):
    fill(client)
    requests = [
        models.QueryRequest(query=NEAREST, using="image", limit=3, with_payload=True),
        models.QueryRequest(query=NEAREST, using="image", filter=WHERE, limit=2),
    ]
    answers = client.query_batch_points("c", requests)
    wanted = plain.query_batch_points("c", requests)
    assert [len(one.points) for one in wanted] == [3, 2]
    for ours, theirs in zip(answers, wanted, strict=True):
        same(ours.points, theirs.points)


@pytest.mark.wrong_on_a_real_server("contradiction")
def test_a_filter_that_contradicts_itself(client):
    fill(client)
    assert client.count("c", models.Filter(must=[TAGGED], must_not=[TAGGED])).count == 0


@pytest.mark.wrong_on_a_real_server("idf")
def test_words_after_a_deletion(client):
    """Those of deleted points count no longer."""
    fill(client)
    gone = [point.id for point in points()[:30]]
    client.delete("c", gone)
    plain = fill(QdrantClient(":memory:"))
    plain.delete("c", gone)
    query = QUERIES["words"] | {"limit": 10}
    same(client.query_points("c", **query).points, plain.query_points("c", **query).points)


def test_a_sample_is_of_the_points(client):
    fill(client)
    sampled = client.query_points("c", models.SampleQuery(sample=models.Sample.RANDOM), limit=40)
    assert {p.id for p in sampled.points} == {p.id for p in points()}


def test_scroll_by_pages(client, plain):
    fill(client)
    after, theirs = None, None
    for _ in range(3):  # 11 points
        ours, after = client.scroll("c", WHERE, 5, offset=after, with_vectors=True)
        wanted, theirs = plain.scroll("c", WHERE, 5, offset=theirs, with_vectors=True)
        same(ours, wanted)
        assert after == theirs
    assert after is None


def test_count_facet_retrieve(client, plain):
    fill(client)
    assert client.count("c", WHERE).count == plain.count("c", WHERE).count > 0
    assert client.facet("c", "tags", WHERE).hits == plain.facet("c", "tags", WHERE).hits
    ids = [str(uuid.UUID(int=3)), str(uuid.UUID(int=999))]
    same(
        client.retrieve("c", ids, True, True),
        plain.retrieve("c", ids, True, True),
    )


def test_without_payload(client):
    fill(client)
    (point,) = client.retrieve("c", [str(uuid.UUID(int=3))], False)
    (scrolled,), _ = client.scroll("c", limit=1, with_payload=False)
    assert not point.payload
    assert not scrolled.payload


def test_changes_of_points(client):
    fill(client)
    first, second = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    client.overwrite_payload("c", {"color": "white"}, [first])
    client.set_payload("c", {"year": 1}, models.Filter(must=[RED]))
    vector = models.PointVectors(id=first, vector={"image": [1.0] + [0.0] * (DIM - 1)})
    client.update_vectors("c", [vector])
    client.delete("c", [second])
    operations = [
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"n": 1}, points=[first])),
        models.DeleteOperation(delete=models.PointIdsList(points=[str(uuid.UUID(int=3))])),
    ]
    client.batch_update_points("c", operations)
    (changed,) = client.retrieve("c", [first, second], True, ["image"])
    assert changed.payload == {"color": "white", "n": 1}
    assert changed.vector["image"] == pytest.approx([1.0] + [0.0] * (DIM - 1))
    old = models.FieldCondition(key="year", match=models.MatchValue(value=1))
    assert client.count("c", models.Filter(must=[old])).count == 13  # 14 were red, one is white
    assert client.count("c").count == 38


def test_names_and_aliases(client):
    old, new = "family@20261126-101500-ab12", "family@20261127-101500-cd34"
    fill(client, old)
    assert not client.collection_exists("family")
    assert client.update_collection_aliases([alias("family", old)])
    client.create_collection(new, {})
    switch = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="family")),
        alias("family", new),
        alias("family@old", old),
    ]
    assert client.count("family").count == 40
    client.update_collection_aliases(switch)
    assert client.count("family").count == 0
    assert client.count("family@old").count == 40
    listed = {a.alias_name: a.collection_name for a in client.get_aliases().aliases}
    assert listed == {"family": new, "family@old": old}
    assert [a.alias_name for a in client.get_collection_aliases(old).aliases] == ["family@old"]
    assert {c.name for c in client.get_collections().collections} == {old, new}
    client.delete_collection(old)
    assert not client.collection_exists("family@old")


def alias(name: str, collection: str) -> models.CreateAliasOperation:
    told = models.CreateAlias(collection_name=collection, alias_name=name)
    return models.CreateAliasOperation(create_alias=told)


def test_aliases_change_one_after_the_other(client):
    client.create_collection("one", {})
    client.update_collection_aliases([alias("a", "one")])
    with pytest.raises((UnexpectedResponse, grpc.RpcError)):
        client.update_collection_aliases([alias("b", "one"), alias("c", "missing")])
    with pytest.raises((UnexpectedResponse, grpc.RpcError)):
        client.update_collection_aliases([alias("one", "one")])
    assert sorted(a.alias_name for a in client.get_aliases().aliases) == ["a", "b"]
    assert not client.delete_collection("a")
    assert client.collection_exists("a")
    refused(400, grpc.StatusCode.INVALID_ARGUMENT, lambda: client.create_collection("a", {}))


def test_a_collection_is_as_requested(client):
    client.create_collection(
        "c",
        {
            "image": models.VectorParams(
                size=4,
                distance=models.Distance.COSINE,
                on_disk=True,
                datatype=models.Datatype.FLOAT16,
            )
        },
        shard_number=6,
        replication_factor=2,
        hnsw_config=models.HnswConfigDiff(m=24),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        ),
        strict_mode_config=models.StrictModeConfig(enabled=True, max_query_limit=50),
        metadata={"polylens": {"format": 1}, "other": 2},
    )
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    client.create_payload_index("c", "tenant", tenant)
    client.create_payload_index("c", "year", INTEGER)
    client.update_collection(
        "c",
        metadata={"polylens": {"format": 2}},
        hnsw_config=models.HnswConfigDiff(ef_construct=200),
    )
    told = client.get_collection("c")
    config = told.config
    assert (config.params.shard_number, config.params.replication_factor) == (6, 2)
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (24, 200)
    assert config.quantization_config.scalar.always_ram
    assert config.params.vectors["image"].datatype == models.Datatype.FLOAT16
    assert config.strict_mode_config.max_query_limit == 50
    assert config.metadata == {"polylens": {"format": 2}, "other": 2}
    assert told.payload_schema["tenant"].params.is_tenant
    assert told.payload_schema["year"].data_type == INTEGER
    client.delete_payload_index("c", "year")
    assert set(client.get_collection("c").payload_schema) == {"tenant"}


MISSING = str(uuid.UUID(int=999))
TWICE = models.SparseVector(indices=[1, 1], values=[1.0, 1.0])
INVALID = (422, grpc.StatusCode.INVALID_ARGUMENT)
REFUSALS = {
    "missing": (404, grpc.StatusCode.NOT_FOUND, lambda c: c.count("missing")),
    "there already": (409, grpc.StatusCode.ALREADY_EXISTS, lambda c: c.create_collection("c", {})),
    "wrong dimension": (
        400,
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda c: c.upsert("c", [models.PointStruct(id=1, vector={"image": [1.0]})]),
    ),
    "scroll of nothing": (*INVALID, lambda c: c.scroll("c", limit=0)),
    "query for nothing": (*INVALID, lambda c: c.query_points("c", NEAREST, "image", limit=0)),
    "index named twice": (
        *INVALID,
        lambda c: c.upsert("c", [models.PointStruct(id=1, vector={"bm25": TWICE})]),
    ),
    "name with a slash": (*INVALID, lambda c: c.create_collection("a/b", {})),
    "name of 256 letters": (*INVALID, lambda c: c.create_collection("x" * 256, {})),
    "large dimension": (
        *INVALID,
        lambda c: c.create_collection(
            "d", models.VectorParams(size=70_000, distance=models.Distance.DOT)
        ),
    ),
    "payload of a missing point": (
        404,
        grpc.StatusCode.NOT_FOUND,
        lambda c: c.set_payload("c", {"a": 1}, [MISSING]),
    ),
    "vectors of a missing point": (
        404,
        grpc.StatusCode.NOT_FOUND,
        lambda c: c.update_vectors("c", [models.PointVectors(id=MISSING, vector={})]),
    ),
    "like a missing point": (
        404,
        grpc.StatusCode.NOT_FOUND,
        lambda c: c.query_points("c", MISSING, "image"),
    ),
    "query of another dimension": (
        400,
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda c: c.query_points("c", [1.0], "image"),
    ),
    "unknown vector": (
        400,
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda c: c.query_points("c", NEAREST, "nope"),
    ),
    "path that is not closed": (
        400,
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda c: c.count(
            "c", models.Filter(must=[models.IsEmptyCondition(is_empty={"key": "a[b"})])
        ),
    ),
    "facet without an index": (
        400,
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda c: c.facet("c", "nested"),
    ),
    "order without an index": (
        400,
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda c: c.scroll("c", order_by="color"),
    ),
}


@pytest.mark.parametrize(("status", "code", "ask"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(client, status, code, ask):
    fill(client)
    refused(status, code, lambda: ask(client))
    assert client.count("c").count == 40


def refused(status: int, code: grpc.StatusCode, ask) -> None:
    with pytest.raises((UnexpectedResponse, grpc.RpcError)) as caught:
        ask()
    error = caught.value
    found = error.code() if isinstance(error, grpc.RpcError) else error.status_code
    assert found in (status, code)


def message(error: UnexpectedResponse | grpc.RpcError) -> str:
    if isinstance(error, grpc.RpcError):
        return error.details()
    return error.structured()["status"]["error"]


def test_a_missing_collection_has_qdrants_message(qdrant):
    with pytest.raises(UnexpectedResponse) as caught:
        connect(qdrant).count("x")
    told = caught.value.structured()["status"]["error"]
    assert told == "Not found: Collection `x` doesn't exist!"


def test_strict_mode(client):
    fill(client)
    strict = models.StrictModeConfig(
        enabled=True,
        unindexed_filtering_retrieve=False,
        unindexed_filtering_update=False,
        max_query_limit=10,
        upsert_max_batchsize=39,
    )
    client.update_collection("c", strict_mode_config=strict)
    unindexed = models.FieldCondition(key="name", match=models.MatchValue(value="x"))
    inside = models.Filter(must=[models.Filter(should=[RED, unindexed])])
    too_many = models.Prefetch(query=NEAREST, using="image", limit=11)
    bad = (400, grpc.StatusCode.INVALID_ARGUMENT)
    refused(*bad, lambda: client.count("c", inside))
    refused(*bad, lambda: client.scroll("c", inside, 3))
    refused(*bad, lambda: client.query_points("c", NEAREST, "image", query_filter=inside))
    refused(*bad, lambda: client.query_points("c", NEAREST, "image", limit=11))
    refused(*bad, lambda: client.query_points("c", NEAREST, "image", prefetch=too_many))
    refused(*bad, lambda: client.delete("c", models.FilterSelector(filter=inside)))
    refused(*bad, lambda: client.upsert("c", points()))
    assert client.count("c", WHERE).count > 0
    assert len(client.scroll("c", WHERE, 10)[0]) > 0


@pytest.mark.needs_faults
def test_keys(client, qdrant):
    over = "grpc" if client.init_options["prefer_grpc"] else "http"
    fill(client)
    qdrant.require("full", "reads")
    refused(401, grpc.StatusCode.UNAUTHENTICATED, lambda: client.count("c"))
    reader = connect(qdrant, over, api_key="reads", https=False)
    assert reader.count("c").count == 40
    refused(
        403, grpc.StatusCode.PERMISSION_DENIED, lambda: reader.delete("c", [str(uuid.UUID(int=1))])
    )
    writer = connect(qdrant, over, api_key="full", https=False)
    writer.delete("c", [str(uuid.UUID(int=1))])
    assert reader.count("c").count == 39
    assert httpx.get(qdrant.url).json()["version"].startswith("1.")  # open to all


FAULTS = [
    ("429", False),
    ("408", False),
    ("503", False),
    ("500", False),
    ("reset-before", False),
    ("reset-after", True),
    ("half", True),
    ("malformed", True),
]


@pytest.mark.needs_faults
@pytest.mark.parametrize(("kind", "applied"), FAULTS)
def test_faults(client, qdrant, kind, applied):
    fill(client)
    before = qdrant.faults.count("upsert")
    qdrant.faults.next(1, kind, path="upsert", retry_after=7)
    new = models.PointStruct(id=1, vector={})
    with pytest.raises(
        (
            ResourceExhaustedResponse,
            UnexpectedResponse,
            ResponseHandlingException,
            json.JSONDecodeError,
            grpc.RpcError,
        )
    ) as caught:
        client.upsert("c", [new])
    if kind == "429":
        assert caught.value.retry_after_s == 7
    assert client.count("c").count == 40 + applied
    client.upsert("c", [new])
    assert client.count("c").count == 41
    assert qdrant.faults.count("upsert") == before + 2


@pytest.mark.needs_faults
def test_writes_that_are_not_applied(client, qdrant):
    fill(client)
    qdrant.faults.next(1, "unapplied", path="upsert")
    told = client.upsert("c", [models.PointStruct(id=1, vector={})])
    assert told.status == models.UpdateStatus.WAIT_TIMEOUT
    assert client.count("c").count == 40


@pytest.mark.needs_faults
def test_a_request_of_more_than_32_mebibytes_is_refused(qdrant):
    client = connect(qdrant)
    client.create_collection("c", {})
    large = models.PointStruct(id=1, vector={}, payload={"text": "x" * (32 << 20)})
    refused(400, grpc.StatusCode.INVALID_ARGUMENT, lambda: client.upsert("c", [large]))


def test_a_comparison_of_rankings():
    wanted = [("a", 3.0), ("b", 2.0), ("c", 2.0), ("d", 1.0)]
    assert_same_ranking([("a", 3.0), ("c", 2.0), ("b", 2.0), ("d", 1.0)], wanted)
    assert_same_ranking([("a", 3.0), ("c", 2.0)], wanted)
    for wrong in (
        [("b", 3.0), ("a", 2.0)],  # ids where scores differ
        [("a", 3.0), ("b", 2.0), ("b", 2.0)],
        [("a", 3.0), ("b", 2.1)],
        [*wanted, ("e", 1.0)],
    ):
        with pytest.raises(AssertionError):
            assert_same_ranking(wrong, wanted)


@pytest.mark.needs_faults
def test_slow(client, qdrant):
    qdrant.faults.next(1, "slow", delay=0.15)
    started = time.perf_counter()
    client.get_collections()
    assert time.perf_counter() - started >= 0.15


@pytest.mark.needs_faults
def test_stop_and_start(client, qdrant):
    fill(client)
    ports = (qdrant.url, qdrant.grpc_port)
    qdrant.stop()
    with pytest.raises((ResponseHandlingException, grpc.RpcError)):
        client.count("c")
    qdrant.start()
    assert (qdrant.url, qdrant.grpc_port) == ports
    assert connect(qdrant, "grpc").count("c").count == 40
    assert connect(qdrant, "http").count("c").count == 40


@pytest.mark.needs_faults
def test_stop_after_some_writes(client, qdrant):
    fill(client)
    qdrant.kill_after(2, "upsert")
    for number in (1, 2):
        client.upsert("c", [models.PointStruct(id=number, vector={})])
    with pytest.raises((ResponseHandlingException, grpc.RpcError)):
        client.upsert("c", [models.PointStruct(id=3, vector={})])
    qdrant.start()
    assert connect(qdrant).count("c").count == 42


@pytest.mark.needs_faults
@pytest.mark.parametrize(("factor", "goes_on"), [(1, True), (2, False)])
def test_a_lost_peer(client, qdrant, factor, goes_on):
    qdrant.cluster.form(3)
    client.create_collection("c", {}, replication_factor=2, write_consistency_factor=factor)
    new = models.PointStruct(id=1, vector={})
    client.upsert("c", [new])
    qdrant.cluster.lose(2)
    status = client.cluster_status()
    assert len(status.peers) == 3
    assert list(status.message_send_failures) == [status.peers["2"].uri]
    if goes_on:
        client.upsert("c", [new])
    else:
        with pytest.raises((UnexpectedResponse, grpc.RpcError)) as caught:
            client.upsert("c", [new])
        told = message(caught.value)
        assert "2 out of 3 shards failed to apply operation. First error captured: " in told
        assert f"Failed to connect to {status.peers['2'].uri}" in told
    assert client.count("c").count == 1
    remote = httpx.get(f"{qdrant.url}/collections/c/cluster").json()["result"]["remote_shards"]
    assert {shard["peer_id"] for shard in remote if shard["state"] == "Dead"} == (
        {2} if goes_on else set()
    )
    qdrant.cluster.regain(2)
    client.upsert("c", [new])
    assert not client.cluster_status().message_send_failures


@pytest.mark.needs_faults
def test_a_hung_server(qdrant):
    qdrant.faults.hang()
    for path in ("/", "/readyz", "/collections"):
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{qdrant.url}{path}", timeout=0.1)
    with pytest.raises(grpc.RpcError) as caught:
        connect(qdrant, "grpc", timeout=1).get_collections()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert qdrant.faults.count("collections") == 2
    qdrant.faults.resume()
    assert connect(qdrant).get_collections().collections == []


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_tls(secure_qdrant, over):
    authority = secure_qdrant.tls.certificate
    trusting = (
        {"grpc_options": {"root_certificates": authority.read_bytes()}}
        if over == "grpc"
        else {"verify": ssl.create_default_context(cafile=authority)}
    )
    assert connect(secure_qdrant, over, **trusting).get_collections().collections == []
    with pytest.raises((ResponseHandlingException, grpc.RpcError)):
        connect(secure_qdrant, over).get_collections()


def test_as_a_process():
    command = [sys.executable, str(Path(__file__).with_name("qdrant.py"))]
    ports = ["--port", "0", "--grpc-port", "0", "--api-key", "k"]
    with subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, text=True) as process:
        told = json.loads(process.stdout.readline())
        try:
            answer = httpx.get(f"{told['url']}/collections", headers={"api-key": "k"})
            assert answer.json()["result"] == {"collections": []}
            assert told["grpc_port"] != told["port"]
        finally:
            process.terminate()
    assert process.returncode == 0
