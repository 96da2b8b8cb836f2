"""A cluster that has lost a node, and a server that hangs."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from httpx import ConnectError

from app import services
from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection, create_collection
from indexer.config import Config
from indexer.doctor import _check_collection
from indexer.errors import StoreUnavailableError
from indexer.stores.base import Layout, Schema
from indexer.stores.qdrant.client import Connection
from indexer.stores.qdrant.cluster import compute_write_consistency
from indexer.stores.qdrant.server import Server, get_server
from indexer.stores.qdrant.store import QdrantStore
from indexer.types import Record

SCHEMA = Schema((("image", 4),), (), ("kind",))
POINT = Record(str(uuid.UUID(int=1)), {"image": np.eye(4, dtype=np.float32)[0]}, {"kind": "x"})
LOST = "of the 3 nodes of its cluster, http://qdrant-2:6335/ does not answer"


@pytest.mark.parametrize(
    ("replicas", "needed"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)]
)
def test_a_write_never_needs_every_copy(replicas, needed):
    assert compute_write_consistency(replicas) == needed
    assert replicas == 1 or needed < replicas


@pytest.fixture(params=["rest", "grpc"])
def connection(request, qdrant) -> Connection:
    port = qdrant.grpc_port if request.param == "grpc" else None
    return Connection(qdrant.url, qdrant.api_key, port, timeout=5, retry_seconds=0.6)


@pytest.fixture
def store(connection, qdrant):
    """A collection of two copies on three nodes."""
    qdrant.cluster.form(3)
    server = Server(connection)
    opened = QdrantStore(server, "c", Layout(replicas=2))
    opened.ensure(SCHEMA)
    opened.upsert([POINT])
    yield opened
    server.close()


def count_by_scroll(store: QdrantStore) -> int:
    return len(store.scroll()[0])


@pytest.mark.needs_faults
def test_a_lost_node_stops_neither_search_nor_ingest(store, qdrant):
    qdrant.cluster.lose(2)
    store.upsert([POINT, replace(POINT, id=str(uuid.UUID(int=2)))])
    assert store.count() == count_by_scroll(store) == 2


@pytest.mark.needs_faults
def test_a_refused_write_names_the_lost_node(store, qdrant, caplog, monkeypatch):
    monkeypatch.setattr("indexer.stores.qdrant.server.LOG_AFTER_SECONDS", 0.1)
    store._server.call(
        lambda client: client.update_collection(
            "c", collection_params={"write_consistency_factor": 2}
        )
    )
    qdrant.cluster.lose(2)
    with (
        caplog.at_level(logging.WARNING, "indexer"),
        pytest.raises(StoreUnavailableError) as caught,
    ):
        store.upsert([POINT])
    message = str(caught.value)
    assert f"could not do this: {LOST} (" in message
    assert "2 out of 3 shards failed" in message
    assert "Start the missing nodes" in message and "indexer doctor" in message
    assert "Start the server" not in message
    assert LOST in caplog.text, "while it waits, too"
    assert store.count() == 1
    qdrant.cluster.regain(2)
    store.upsert([POINT])


@pytest.mark.needs_faults
def test_a_server_that_fails_alone_is_not_a_lost_node(store, qdrant):
    qdrant.faults.next(100, "500", "upsert")
    with pytest.raises(StoreUnavailableError, match="injected") as caught:
        store.upsert([POINT])
    assert "nodes" not in str(caught.value)


@pytest.mark.needs_faults
def test_doctor_changes_what_a_write_needs(config, http_store, colors, qdrant):
    """Of every index: earlier versions let a write need both copies."""
    config = replace(config, **http_store, replicas=2)
    qdrant.cluster.form(3)
    create_collection(config, colors.card)
    backend, name = open_backend(config), config.collection
    backend.start_build(name, replace(colors.card, fingerprint="new"), Layout(replicas=2))

    def list_layouts() -> list[int | None]:
        found = backend.get_indexes(name)
        return [backend.get_layout(i).write_consistency for i in (found.in_use, found.building)]

    def check(*, repair: bool) -> list[tuple[str, str, str]]:
        found = _check_collection(config, repair=repair)
        return [(c.state, c.detail, c.advice) for c in found if c.name in ("copies", "cluster")]

    assert list_layouts() == [1, 1]
    for index in (backend.get_indexes(name).in_use, backend.get_indexes(name).building):
        backend.set_write_consistency(index, 2)
    state, detail, advice = check(repair=False)[0]
    assert (state, advice) == ("note", "indexer doctor --repair")
    assert "needs 2 of 2 copies" in detail and "a lost node stops every ingest" in detail
    assert list_layouts() == [2, 2]
    assert [state for state, *_ in check(repair=True)] == ["ok", "ok"]
    assert list_layouts() == [1, 1]
    qdrant.cluster.lose(2)
    assert check(repair=False)[0][:2] == ("problem", f"{LOST}; start the missing nodes")


@contextmanager
def serve_badly(*, drips: bool) -> Iterator[int]:
    """A port that accepts connections and answers nothing, or a byte at a time, without an end."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended, kept = threading.Event(), []

    def serve() -> None:
        while not ended.is_set():
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            kept.append(connected)
            if drips:
                threading.Thread(target=drip, args=(connected,), daemon=True).start()

    def drip(connected: socket.socket) -> None:
        try:
            connected.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while not ended.wait(0.05):
                connected.sendall(b" ")
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    ended.set()
    listening.close()
    for connected in kept:
        connected.close()


@pytest.mark.parametrize("over", ["rest", "grpc"])
@pytest.mark.parametrize("drips", [False, True])
def test_a_read_ends_in_time(over, drips):
    """httpx limits the time between two bytes only."""
    with serve_badly(drips=drips) as port:
        grpc_port = port if over == "grpc" else None
        config = Config(
            store=f"http://127.0.0.1:{port}", qdrant_grpc_port=grpc_port, qdrant_read_timeout=0.5
        )
        backend, began = open_backend(config.for_reading()), time.monotonic()
        with pytest.raises(StoreUnavailableError, match=f"no answer from Qdrant.*{port}"):
            backend.find("family")
        assert time.monotonic() - began < 0.7
        get_server.cache_clear()


def test_a_read_that_is_given_up_says_what_its_tries_have_met():
    """Opening the client counts, so a read may be given up before its last try."""
    server = get_server(Connection("http://127.0.0.1:1", timeout=0.3, retry_seconds=0.3))

    def refuse_late(_):
        time.sleep(0.2)
        raise ConnectError("[Errno 111] Connection refused")

    try:
        with pytest.raises(StoreUnavailableError, match=r"Connection refused.*Start the server"):
            server.call(refuse_late, is_read=True)
    finally:
        get_server.cache_clear()


@pytest.mark.parametrize("drips", [False, True])
def test_the_app_answers_in_words_within_its_limit(drips):
    with serve_badly(drips=drips) as port:
        config = Config(store=f"http://127.0.0.1:{port}", qdrant_read_timeout=0.5)
        services.configure(config)
        try:
            for ask in (services.list_names, lambda: services.open_searcher("family")):
                began = time.monotonic()
                with pytest.raises(StoreUnavailableError, match="does not respond in time"):
                    ask()
                assert time.monotonic() - began < 0.7
        finally:
            services.configure()
            get_server.cache_clear()


@pytest.mark.needs_faults
@pytest.mark.parametrize("over", ["http_store", "grpc_store"])
def test_an_open_search_ends_in_time_and_a_write_waits(config, over, colors, qdrant, request):
    config = replace(config, **request.getfixturevalue(over), qdrant_read_timeout=1.2)
    create_collection(config, colors.card)
    with (
        OpenCollection.open(config.for_reading()) as reader,
        OpenCollection.open(config) as writer,
    ):
        qdrant.faults.hang()
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="does not respond in time"):
            reader.store.count()
        assert time.monotonic() - began < 1.4
        threading.Timer(0.6, qdrant.faults.resume).start()
        began = time.monotonic()
        writer.store.upsert([Record(POINT.id, {}, {"kind": "text"})])
        assert writer.store.count() == 1
        assert time.monotonic() - began > 0.5


def test_the_default_limit_of_a_read_is_10_seconds():
    config = Config().for_reading()
    assert (config.qdrant_timeout, config.qdrant_retry_seconds) == (9.0, 9.0)
    assert replace(config, qdrant_timeout=3.0).for_reading().qdrant_timeout == 3.0
