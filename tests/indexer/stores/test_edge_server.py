"""The process behind the embedded store: shared, killed, damaged, and gone when nobody is there."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import CollectionError, DiskFullError, StoreError
from indexer.stores.base import Schema
from indexer.stores.edge.state import count_points
from indexer.stores.edge.store import EdgeStore, _dump_model
from indexer.types import Record

SCHEMA = Schema((("image", 8),), ("bm25",), ("kind",))


def points(start: int, count: int) -> list[Record]:
    rng = np.random.default_rng(start)
    rows = rng.standard_normal((count, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        Record(str(uuid.UUID(int=start + i + 1)), {"image": row}, {"kind": "x"})
        for i, row in enumerate(rows)
    ]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "c").mkdir()
    return tmp_path


def opened(folder: Path):
    store = EdgeStore(folder / "c")
    store.ensure(SCHEMA)
    return store


def keeper(folder: Path) -> int:
    return json.loads((folder / "c" / "keeper.json").read_text())["pid"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True
    )


def wait_until(true, seconds=20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


def test_it_ends_when_its_last_client_has_left(folder):
    store = opened(folder)
    store.upsert(points(0, 5))
    pid = keeper(folder)
    assert count_points(folder / "c") == 5, "a live keeper is asked"
    store.close()
    assert wait_until(lambda: not alive(pid))
    assert count_points(folder / "c") == 5, "then its file is read"
    state = {"points": 5, "clean": True, "vectors": {"image": 5, "bm25": 0}}
    assert json.loads((folder / "c" / "shard.json").read_text()) == state


def test_two_stores_share_one_server_process(folder):
    first, second = opened(folder), opened(folder)
    first.upsert(points(0, 5))
    assert second.count() == 5
    first.close()
    second.upsert(points(5, 5))
    assert second.count() == 10
    second.close()


def test_a_query_carries_no_class_of_the_client():
    """The process that owns the shard would import qdrant-client, which takes a second."""
    from qdrant_client import models

    sample = models.QueryRequest(query=models.SampleQuery(sample=models.Sample.RANDOM))
    assert b"qdrant_client" not in pickle.dumps(_dump_model(sample))


def test_many_start_at_once(folder):
    stores, errors = [], []

    def start():
        try:
            stores.append(opened(folder))
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for i, store in enumerate(stores):
        store.upsert(points(i * 10, 10))
    assert stores[0].count() == 60
    for store in stores:
        store.close()


def test_killed_it_is_started_again_and_nothing_acknowledged_is_lost(folder):
    store = opened(folder)
    for start in range(0, 200, 20):
        store.upsert(points(start, 20))
        if start in (60, 140):
            os.kill(keeper(folder), signal.SIGKILL)
    assert store.count() == 200
    store.close()


def test_killed_without_a_client_it_loses_nothing(folder):
    store = opened(folder)
    store.upsert(points(0, 50))
    os.kill(keeper(folder), signal.SIGKILL)
    store.close()
    assert count_points(folder / "c") is None, "only opening it can tell"
    again = opened(folder)
    assert again.count() == 50
    again.close()


def test_sigterm_saves(folder):
    store = opened(folder)
    store.upsert(points(0, 5))
    pid = keeper(folder)
    os.kill(pid, signal.SIGTERM)
    assert wait_until(lambda: not alive(pid))
    assert json.loads((folder / "c" / "shard.json").read_text())["clean"]
    assert store.count() == 5
    store.close()


def test_it_holds_no_pipe_of_its_parent(folder):
    script = (
        "import sys; from pathlib import Path; from indexer.stores.base import Schema\n"
        "from indexer.stores.edge.store import EdgeStore\n"
        "store = EdgeStore(Path(sys.argv[1]) / 'c')\n"
        "store.ensure(Schema((('image', 8),), (), ()))\n"
        "print('done')"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert out.stdout == "done\n"
    assert alive(keeper(folder)), "the keeper outlives its parent"


def test_it_notices_that_its_folder_is_gone(folder, tmp_path):
    import shutil

    store = opened(folder)
    pid = keeper(folder)
    store.close()
    shutil.rmtree(folder / "c")
    assert wait_until(lambda: not alive(pid))


def test_lost_points_are_noticed(folder):
    store = opened(folder)
    store.upsert(points(0, 5))
    pid = keeper(folder)
    store.close()
    wait_until(lambda: not alive(pid))
    (folder / "c" / "shard.json").write_text('{"points": 9, "clean": true}')
    with pytest.raises(CollectionError, match=r"damaged.*9 points.*5 were"):
        opened(folder)


def test_a_damaged_shard_is_an_error_with_advice(folder):
    store = opened(folder)
    store.upsert(points(0, 50))
    pid = keeper(folder)
    store.close()
    wait_until(lambda: not alive(pid))
    for file in (folder / "c" / "shard").rglob("*.json"):
        file.write_bytes(b"\0" * 10)
    with pytest.raises((StoreError, CollectionError)) as caught:
        opened(folder)
    assert "Traceback" not in str(caught.value)


def test_a_full_disk_is_refused_before_writing(folder, monkeypatch):
    from indexer.stores.edge import shard

    (folder / "d").mkdir()
    here = shard.Shard(folder / "d", SCHEMA)  # in this process, where the limit can be moved
    monkeypatch.setattr(shard, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(DiskFullError, match="free some space"):
        here.upsert(points(0, 1))
    assert here.count(None) == 0
    here.close()


def test_a_client_killed_during_a_message_affects_no_other(folder):
    store = opened(folder)
    script = (
        "import sys, os; from pathlib import Path; from indexer.stores.edge.state import connect\n"
        "live = connect(Path(sys.argv[1]) / 'c')\n"
        "os.write(live.fileno(), b'\\0\\0\\xff\\xff half')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    store.upsert(points(0, 5))
    assert store.count() == 5
    store.close()
