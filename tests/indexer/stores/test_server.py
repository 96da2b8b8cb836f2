"""A server's collection: made as its profile says, checked when it is there, refused in words."""

from __future__ import annotations

import http.server
import json
import logging
import threading
import uuid
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.conversions.conversion import RestToGrpc

from embedder.redaction import redact_secrets
from indexer.errors import ConfigError, StoreError, StoreUnavailableError
from indexer.stores.base import Layout, Schema
from indexer.stores.qdrant.client import Connection, make_client
from indexer.stores.qdrant.points import (
    MAX_BYTES,
    MAX_POINTS,
    _to_grpc_point,
    split_records,
)
from indexer.stores.qdrant.server import Server, get_server
from indexer.stores.qdrant.store import QdrantStore
from indexer.types import Record, SparseVector

SCHEMA = Schema((("image", 4), ("text", 4)), ("bm25",), ("kind",), ("year",), "tenant")
POINT = Record(str(uuid.UUID(int=1)), {"image": np.eye(4, dtype=np.float32)[0]}, {"kind": "x"})


@pytest.fixture(params=["rest", "grpc"])
def connection(request, qdrant) -> Connection:
    port = qdrant.grpc_port if request.param == "grpc" else None
    return Connection(qdrant.url, qdrant.api_key, port, retry_seconds=0)


@pytest.fixture
def server(connection):
    server = Server(connection)
    yield server
    server.close()


def opened(server: Server, schema: Schema = SCHEMA, **layout) -> QdrantStore:
    store = QdrantStore(server, "c", Layout(**layout))
    store.ensure(schema)
    return store


def info(server: Server) -> models.CollectionInfo:
    return server.call(lambda client: client.get_collection("c"))


@pytest.mark.needs_faults
def test_a_filter_that_matches_nothing_is_not_sent(server, qdrant):
    store, has_kind = opened(server), models.FieldCondition(key="kind", match={"value": "x"})
    where = models.Filter(must=[has_kind], must_not=[has_kind])
    qdrant.faults.clear()
    assert (store.count(where), store.scroll(where), store.facet("kind", where)) == (
        0,
        ([], None),
        [],
    )
    stage = models.Prefetch(query=[1.0] * 4, using="image", filter=where)
    requests = [
        models.QueryRequest(query=[1.0] * 4, using="image", filter=where),
        models.QueryRequest(query=[1.0] * 4, using="image", prefetch=stage),
    ]
    assert store.query_batch(requests) == [[], []]
    assert not qdrant.faults.seen


def refused(server: Server, **changes) -> str:
    """What is said to who comes with another connection."""
    with pytest.raises(StoreError) as caught:
        opened(Server(replace(server.connection, **changes)))
    return str(caught.value)


def test_small_is_in_ram(server):
    opened(server)
    found = info(server).config
    image = found.params.vectors["image"]
    assert (image.size, image.distance, image.on_disk) == (4, models.Distance.COSINE, False)
    assert image.datatype == models.Datatype.FLOAT32
    assert found.params.sparse_vectors["bm25"].modifier == models.Modifier.IDF
    assert found.quantization_config is None
    assert found.strict_mode_config.enabled


def test_large_keeps_four_bits_in_ram(server):
    opened(server, profile="large")
    found = info(server).config
    image = found.params.vectors["image"]
    assert (image.on_disk, image.datatype) == (True, models.Datatype.FLOAT16)
    turbo = found.quantization_config.turbo
    assert (turbo.bits, turbo.always_ram) == (models.TurboQuantBitSize.BITS4, True)
    assert found.params.on_disk_payload


@pytest.mark.needs_faults  # one node cannot have two replicas
@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, (6, 2, 1)), ({"shards": 12, "replicas": 3}, (12, 3, 2)), ({"replicas": 1}, (6, 1, 1))],
)
def test_huge_is_in_shards_and_replicas(server, given, wanted):
    opened(server, profile="huge", **given)
    found = info(server).config
    params = found.params
    assert (
        params.shard_number,
        params.replication_factor,
        params.write_consistency_factor,
    ) == wanted
    assert found.quantization_config.turbo.bits == models.TurboQuantBitSize.BITS2
    assert found.hnsw_config.on_disk


def test_an_unknown_profile(server):
    with pytest.raises(ConfigError, match="small, large, huge"):
        opened(server, profile="tiny")


def test_payload_indexes_exist_before_points(server):
    opened(server)
    found = info(server).payload_schema
    assert {key: one.data_type.value for key, one in found.items()} == {
        "kind": "keyword",
        "year": "integer",
        "tenant": "keyword",
    }
    assert found["tenant"].params.is_tenant
    assert not found["kind"].params.is_tenant


def test_missing_indexes_are_created(server):
    opened(server)
    server.call(lambda client: client.delete_payload_index("c", "year"))
    opened(server)
    assert "year" in info(server).payload_schema


class Heard:
    """A server that keeps the queries that it is asked."""

    grpc, streams, timeout = False, 1, 1.0

    def __init__(self, server: Server) -> None:
        self.server, self.asked = server, []

    def call(self, operation, **how):
        return self.server.call(lambda client: operation(_Listening(client, self.asked)), **how)


class _Listening:
    def __init__(self, client: QdrantClient, asked: list) -> None:
        self._client, self._asked = client, asked

    def __getattr__(self, name):
        return getattr(self._client, name)

    def query_batch_points(self, name, requests):
        self._asked += requests
        return self._client.query_batch_points(name, requests)


@pytest.mark.parametrize(("profile", "oversampling"), [("large", 2.0), ("huge", 3.0)])
def test_queries_request_oversampling(server, profile, oversampling):
    opened(server, profile=profile, replicas=1)
    heard = Heard(server)
    store = QdrantStore(heard, "c")  # whoever comes later need not know the profile
    store.ensure(SCHEMA)
    near = {"query": [1.0, 0, 0, 0], "using": "image"}
    stage = models.Prefetch(**near, limit=5)
    store.query_batch(
        [
            models.QueryRequest(**near),
            models.QueryRequest(**near, params=models.SearchParams(exact=True)),
            models.QueryRequest(**near, params=models.SearchParams(hnsw_ef=64)),
            models.QueryRequest(
                query=models.RrfQuery(rrf=models.Rrf(k=60)),
                prefetch=[models.Prefetch(prefetch=stage, **near), stage],
            ),
        ]
    )
    plain, exact, wider, fused = heard.asked
    wanted = models.QuantizationSearchParams(rescore=True, oversampling=oversampling)
    assert plain.params.quantization == wanted
    assert exact.params == models.SearchParams(exact=True)
    assert wider.params == models.SearchParams(hnsw_ef=64, quantization=wanted)
    assert [s.params.quantization for s in fused.prefetch] == [wanted, wanted]
    assert fused.prefetch[0].prefetch[0].params.quantization == wanted


def test_unquantized_collections_get_no_search_params(server):
    heard = Heard(server)
    store = QdrantStore(heard, "c")
    store.ensure(SCHEMA)
    store.query_batch([models.QueryRequest(query=[1.0, 0, 0, 0], using="image")])[0]
    assert heard.asked[0].params is None


def test_strict_mode_allows_our_own_queries(server):
    store = opened(server)
    store.upsert([replace(POINT, payload={"meta": {"shelf": "3"}, "width": 640})])
    shelf = models.FieldCondition(key="meta.shelf", match=models.MatchValue(value="3"))
    wide = models.FieldCondition(key="width", range=models.Range(gte=600))
    assert store.count(models.Filter(must=[shelf, wide])) == 1
    with pytest.raises(StoreError, match="request less"):
        store.query_batch(
            [models.QueryRequest(query=[1.0, 0, 0, 0], using="image", limit=200_000)]
        )[0]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (replace(SCHEMA, dense=(("image", 4), ("text", 8))), "of dim 4, and the model has dim 8"),
        (replace(SCHEMA, dense=(("image", 4), ("sound", 4))), "no vectors sound"),
        (replace(SCHEMA, sparse=("bm25", "splade")), "no vectors splade"),
    ],
)
def test_another_collection_of_that_name(server, schema, says):
    opened(server)
    with pytest.raises(StoreError, match=says):
        opened(server, schema)


def test_a_deleted_collection(server):
    store = opened(server)
    server.call(lambda client: client.delete_collection("c"))
    for ask in (store.count, lambda: store.upsert([POINT]), store.scroll):
        with pytest.raises(StoreError, match=r"no such collection.*indexer ingest FOLDER"):
            ask()


@pytest.mark.needs_faults
def test_keys(server, qdrant, caplog):
    opened(server).upsert([POINT])
    qdrant.require("full-key", "read-key")
    assert "wants an API key: set QDRANT_API_KEY" in refused(server)
    told = refused(server, api_key="wrong-key")
    assert "refused the API key" in told and "wrong-key" not in told
    reader = opened(Server(replace(server.connection, api_key="read-key")))
    assert reader.count() == 1
    with pytest.raises(StoreError, match=r"may not do this.*QDRANT_API_KEY"):
        reader.upsert([POINT])
    writer = Server(replace(server.connection, api_key="full-key"))
    writer.call(lambda client: client.delete_payload_index("c", "kind"))
    with caplog.at_level(logging.WARNING, "indexer"):
        again = opened(Server(replace(server.connection, api_key="read-key")))
    assert again.count() == 1, "reading goes on without an index"
    assert "no index on kind" in caplog.text
    told = refused(server, api_key="full\nkey")
    assert "correct QDRANT_API_KEY" in told and "full" not in told


@pytest.mark.needs_faults
def test_an_unencrypted_key_is_warned_about(qdrant, caplog):
    with caplog.at_level(logging.WARNING, "indexer"):
        for host in ("localhost", "127.0.0.1", "qdrant"):
            make_client(Connection(f"http://{host}:1", "k"))
        assert not caplog.records
        make_client(Connection("http://user:secret@qdrant.example.org", "k"))
    assert "unencrypted" in caplog.text and "secret" not in caplog.text


def test_passwords_are_masked():
    assert redact_secrets("http://me:secret@host:6333") == "http://me:***@host:6333"
    assert redact_secrets("http://host:6333") == "http://host:6333"
    server = Server(Connection("http://me:secret@127.0.0.1:1", "k-e-y", retry_seconds=0))
    with pytest.raises(StoreUnavailableError) as caught:
        server.call(lambda client: client.get_collections())
    assert "http://me:***@127.0.0.1:1" in str(caught.value)


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.headers = dict(self.headers)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page():
    """`page(status, body)` gives the URL of what answers so."""
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()

    def serve(status: int, body: bytes) -> str:
        served.status, served.body = status, body
        return f"127.0.0.1:{served.server_port}"

    serve.text = lambda: served.headers
    yield serve
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>It works!</html>"),
        (200, b'{"hello": "world"}'),
        (200, b'{"title": "elasticsearch", "version": "8.1.0"}'),
        (200, b'{"title": "qdrant - vector search engine", "version": "next"}'),
        (404, b"Not Found"),
    ],
)
def test_another_program_than_qdrant(page, status, body):
    server = Server(Connection(f"http://{page(status, body)}", retry_seconds=60))
    with pytest.raises(StoreError, match="is not a Qdrant server"):
        server.call(lambda client: client.get_collections())


@pytest.mark.parametrize(
    ("major", "minor", "fits"),
    [(0, 0, True), (0, -1, True), (0, 1, True), (0, -2, False), (0, 2, False), (1, 0, False)],
)
def test_versions(page, major, minor, fits):
    ours = [int(part) for part in version("qdrant-client").split(".")[:2]]
    theirs = f"{ours[0] + major}.{ours[1] + minor}"
    body = {"title": "qdrant - vector search engine", "version": f"{theirs}.3-dev"}
    server = Server(Connection(f"http://{page(200, json.dumps(body).encode())}", retry_seconds=0))
    if fits:
        assert server.call(lambda _: "talked") == "talked"
        return
    with pytest.raises(StoreError) as caught:
        server.call(lambda _: "talked")
    told = str(caught.value)
    assert f"is version {theirs}.3-dev" in told
    assert f"a server of version {ours[0]}.{ours[1]} or {ours[0]}.{ours[1] - 1}" in told
    assert f"'qdrant-client=={theirs}.*'" in told


def test_name_and_password_are_sent_to_a_proxy(page):
    body = b'{"title": "qdrant", "version": "1.20.0"}'
    server = Server(Connection(f"http://me:p%40ss@{page(200, body)}", "k"))
    server.call(lambda _: None)
    heard = page.text()
    assert heard["authorization"] == "Basic bWU6cEBzcw=="  # me:p@ss
    assert heard["api-key"] == "k"


@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_tls(secure_qdrant, tmp_path, over):
    authority = str(secure_qdrant.tls.certificate)
    port = secure_qdrant.grpc_port if over == "grpc" else None
    trusting = Connection(secure_qdrant.url, grpc_port=port, ca=authority, retry_seconds=0)
    store = QdrantStore(Server(trusting), "c")
    store.ensure(SCHEMA)
    store.upsert([POINT])
    assert store.count() == 1
    with pytest.raises(StoreError, match=r"is not trusted.*POLYLENS_QDRANT_CA"):
        Server(replace(trusting, ca=None, retry_seconds=60)).call(lambda c: c.get_collections())
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    with pytest.raises(StoreError, match="PEM"):
        Server(replace(trusting, ca=str(nothing))).call(lambda c: c.get_collections())


@pytest.mark.needs_faults
def test_tls_with_a_server_without_it(qdrant):
    server = Server(Connection(qdrant.url.replace("http:", "https:"), retry_seconds=60))
    with pytest.raises(StoreError, match="http:// instead of https://"):
        server.call(lambda client: client.get_collections())


def test_a_process_has_one_client(qdrant):
    one = Connection(qdrant.url, qdrant.api_key)
    assert get_server(one) is get_server(Connection(qdrant.url, qdrant.api_key))


def test_many_threads_at_once(server):
    store = opened(server)
    store.upsert([POINT])
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(store.count())) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 12


@pytest.mark.needs_faults
def test_two_stores_create_it_at_the_same_time(connection, qdrant):
    """The first to ask finds none, and the other has made it meanwhile."""
    first, second = Server(connection), Server(connection)
    seen = threading.Barrier(2)

    class Late(_Listening):
        def collection_exists(self, name: str) -> bool:
            there = self._client.collection_exists(name)
            seen.wait(5)
            return there

    class Slow(Heard):
        def call(self, operation, **how):
            return self.server.call(lambda client: operation(Late(client, [])), **how)

    errors: list[Exception] = []

    def ensure(server: Server) -> None:
        try:
            QdrantStore(Slow(server), "c").ensure(SCHEMA)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ensure, args=(server,)) for server in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_payload_that_cannot_be_encoded(server):
    store = opened(server)
    with pytest.raises(StoreError, match="surrogate"):
        store.upsert([replace(POINT, payload={"name": "\ud800"})])


def test_split_by_number_and_by_size():
    small = [POINT] * (MAX_POINTS + 1)
    assert [len(p) for p in split_records(small, [10] * len(small))] == [MAX_POINTS, 1]
    third = MAX_BYTES // 3
    assert [len(p) for p in split_records([POINT] * 5, [third] * 5)] == [2, 2, 1]
    assert [len(p) for p in split_records([POINT] * 2, [2 * MAX_BYTES] * 2)] == [1, 1]
    assert list(split_records([], [])) == []


@pytest.mark.parametrize("dim", [1, 31, 32, 384, 4096])
def test_our_own_grpc_points_equal_the_clients(dim):
    row = np.random.default_rng(dim).standard_normal(dim).astype(np.float32)
    words = SparseVector((1, 7), (0.5, 1.0))
    payload = {"tags": ["a"], "year": 2020, "meta": {"x": None, "y": 1.5, "z": True}}
    ours = _to_grpc_point(Record(POINT.id, {"image": row, "bm25": words}, payload))
    sparse = models.SparseVector(indices=[1, 7], values=[0.5, 1.0])
    plain = models.PointStruct(
        id=POINT.id, vector={"image": row.tolist(), "bm25": sparse}, payload=payload
    )
    assert ours == RestToGrpc.convert_point_struct(plain)
