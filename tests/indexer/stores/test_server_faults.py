"""A server that is busy, breaks off, goes away: nothing is lost, nothing is twice, all is told."""

from __future__ import annotations

import logging
import time as real_time
import uuid
from dataclasses import replace

import numpy as np
import pytest

from indexer.errors import StoreError, StoreUnavailableError
from indexer.stores.base import Schema
from indexer.stores.qdrant.client import Connection
from indexer.stores.qdrant.server import Clock, Server
from indexer.stores.qdrant.store import QdrantStore
from indexer.stores.upload import upload
from indexer.types import Record

pytestmark = pytest.mark.needs_faults
SCHEMA = Schema((("image", 4),), (), ("kind",))
COUNT = 1000  # four requests


def points(count: int = COUNT) -> list[Record]:
    rows = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        Record(str(uuid.UUID(int=i + 1)), {"image": row}, {"kind": "x", "n": i})
        for i, row in enumerate(rows)
    ]


class Time:
    """Sleeping takes a hundredth of the time that it says, and can be heard of."""

    def __init__(self) -> None:
        self.slept, self.after, self.then = 0.0, float("inf"), lambda: None
        self.clock = Clock(lambda: real_time.monotonic() + self.slept, self.sleep)

    def sleep(self, seconds: float) -> None:
        real_time.sleep(seconds / 100)
        self.slept += seconds
        if self.slept >= self.after:
            self.after = float("inf")
            self.then()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["rest", "grpc"])
def connection(request, qdrant) -> Connection:
    port = qdrant.grpc_port if request.param == "grpc" else None
    return Connection(
        qdrant.url, grpc_port=port, timeout=5, retry_seconds=600
    )  # six, as time goes here


@pytest.fixture
def opened(connection, time, qdrant):
    """`opened(retry_seconds=...)` gives the store of this test's own collection: what an earlier
    test gave up may still arrive."""
    servers, name = [], qdrant.name()

    def make(**changes) -> QdrantStore:
        servers.append(Server(replace(connection, **changes), time.clock))
        store = QdrantStore(servers[-1], name)
        store.ensure(SCHEMA)
        return store

    yield make
    for server in servers:
        server.close()


def whole(store: QdrantStore) -> bool:
    """All points are there, each once, as they were sent."""
    found, after = store.scroll(limit=2 * COUNT)
    numbers = sorted(record.payload["n"] for record in found)
    return after is None and numbers == list(range(COUNT)) and store.count() == COUNT


@pytest.mark.parametrize("kind", ["429", "503", "500", "reset-before", "reset-after", "half"])
def test_faults_are_retried(qdrant, opened, kind):
    store = opened()
    qdrant.faults.next(3, kind, "upsert")
    store.upsert(points())
    assert qdrant.faults.count("upsert") == 4 + 3
    assert whole(store)


@pytest.mark.parametrize("kind", ["503", "reset-before", "half"])
def test_without_retries_a_fault_is_an_error(qdrant, opened, kind):
    """Which shows that it is the tries again that outlive them."""
    store = opened(retry_seconds=0)
    qdrant.faults.next(1, kind, "upsert")
    with pytest.raises(StoreUnavailableError, match=r"points of this upload were acknowledged"):
        store.upsert(points())


def test_a_slow_response_is_requested_again(qdrant, opened):
    store = opened(timeout=1)
    qdrant.faults.next(1, "slow", "upsert", delay=1.3)
    store.upsert(points())
    assert whole(store)


def test_reads_are_retried_too(qdrant, opened):
    store = opened()
    store.upsert(points())
    for kind in ("503", "reset-before", "half", "malformed"):
        qdrant.faults.next(1, kind, "count")
        assert store.count() == COUNT


def test_a_pause_is_as_long_as_the_server_asks(qdrant, opened, time):
    store = opened()
    before = time.clock.now()
    qdrant.faults.next(1, "429", "count", retry_after=20)
    assert store.count() == 0
    assert time.clock.now() - before >= 20


def test_a_server_that_stops_and_comes_back(qdrant, opened, time, caplog):
    store = opened()
    qdrant.kill_after(2, "upsert")
    time.after, time.then = time.slept + 10, qdrant.start
    with caplog.at_level(logging.WARNING, "indexer"):
        store.upsert(points())
    assert whole(store)
    told = [r.getMessage() for r in caplog.records if r.name.startswith("indexer")]
    # gRPC's channels come back each in its own time, and time goes a hundred times as fast here
    assert len(told) == 2 or store._server.connection.grpc_port, "once an outage, not once a stream"
    assert told[0].startswith(f"waiting for {qdrant.url}") and "at most 600 s" in told[0]
    assert told[1].endswith("answers again")


def test_a_server_that_stays_away(qdrant, opened):
    store = opened(retry_seconds=30)
    qdrant.kill_after(2, "upsert")
    with pytest.raises(StoreUnavailableError) as caught:
        store.upsert(points())
    told = str(caught.value)
    assert qdrant.url in told and "for 30 s" in told
    assert "Start the server" in told and "same command again" in told
    acknowledged = int(told.rpartition("; ")[2].split()[0].replace(",", ""))
    qdrant.start()
    assert store.count() >= acknowledged >= 512, "what was under way may have arrived too"
    assert acknowledged < COUNT
    store.upsert(points())
    assert whole(store)


def test_a_server_never_seen_is_not_waited_for_long(qdrant, connection, time):
    qdrant.stop()
    store = QdrantStore(Server(connection, time.clock), "c")
    with pytest.raises(StoreUnavailableError, match="for 10 s"):
        store.ensure(SCHEMA)


def test_an_upload_yields_acknowledged_batches(opened):
    store = opened()
    batches = [points()[start : start + 100] for start in range(0, COUNT, 100)]
    given = [[r.id for r in batch] for batch in upload(store, iter(batches), 3)]
    assert given == [[r.id for r in batch] for batch in batches], "in order"
    assert whole(store)


def test_an_upload_reads_few_batches_ahead(opened):
    store, read = opened(), []

    def batches():
        for number in range(20):
            read.append(number)
            yield points(20)

    running = upload(store, batches(), 2)
    next(running)
    assert len(read) == 4, "two under way, and two ready"
    assert len(list(running)) == 19


def test_a_failed_upload_counts_acknowledged_points(qdrant, opened):
    store, begun = opened(retry_seconds=0), []

    def batches():
        for start in range(0, COUNT, 100):
            begun.append(start)
            yield points()[start : start + 100]

    qdrant.kill_after(4, "upsert")
    given = []
    with pytest.raises(StoreUnavailableError) as caught:
        for batch in upload(store, batches(), 2):
            given += batch
    acknowledged = int(str(caught.value).rpartition("; ")[2].split()[0])
    assert [r.payload["n"] for r in given] == list(range(len(given)))
    assert 400 <= acknowledged <= 500, "one may have been on its way when the server went"
    assert len(given) <= acknowledged
    assert len(begun) < 10, "no batch is begun after an error"
    qdrant.start()
    assert opened().count() >= acknowledged


def test_a_closed_upload_stops_waiting(qdrant, opened, time):
    store = opened(retry_seconds=10_000)
    qdrant.kill_after(1, "upsert")
    running = upload(store, [points()[i : i + 100] for i in range(0, COUNT, 100)], 1)
    next(running)
    began = real_time.monotonic()
    running.close()  # as Ctrl-C does
    assert real_time.monotonic() - began < 5


def test_a_permanent_error_is_not_retried(qdrant, opened):
    store = opened()
    store._server.call(lambda client: client.delete_collection(store._name))
    with pytest.raises(StoreError, match="no such collection") as caught:
        store.upsert(points())
    assert not isinstance(caught.value, StoreUnavailableError)
    assert qdrant.faults.count("upsert") <= 2, "one a stream"
