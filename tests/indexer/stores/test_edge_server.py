"""The process behind the embedded store: shared, killed, damaged, and gone when nobody is there."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.errors import CollectionError, DiskFullError, StoreError, StoreUnavailableError
from indexer.stores.base import Schema
from indexer.stores.edge import channel as channels
from indexer.stores.edge import store as stores
from indexer.stores.edge import watch
from indexer.stores.edge.channel import Channel
from indexer.stores.edge.state import (
    ServerInfo,
    connect,
    count_points,
    identify_folder,
    write_server,
)
from indexer.stores.edge.store import EdgeStore, _dump_model
from indexer.types import Record
from tests.programs import ROOT

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


def server_pid(folder: Path, name: str = "c") -> int:
    return json.loads((folder / name / "keeper.json").read_text())["pid"]


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
    pid = server_pid(folder)
    assert count_points(folder / "c") == 5, "a live process is asked"
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


def test_it_starts_without_numpy():
    """Which takes as long to import as the rest; a search does without it."""
    code = "import sys, indexer.stores.edge.server; print('numpy' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, cwd=ROOT, text=True).strip() == "False"


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
            os.kill(server_pid(folder), signal.SIGKILL)
    assert store.count() == 200
    store.close()


def test_killed_without_a_client_it_loses_nothing(folder):
    store = opened(folder)
    store.upsert(points(0, 50))
    os.kill(server_pid(folder), signal.SIGKILL)
    store.close()
    assert count_points(folder / "c") is None, "only opening it can tell"
    again = opened(folder)
    assert again.count() == 50
    again.close()


def test_sigterm_saves(folder):
    store = opened(folder)
    store.upsert(points(0, 5))
    pid = server_pid(folder)
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
    assert alive(server_pid(folder)), "it outlives its parent"


def test_it_notices_that_its_folder_is_gone(folder, tmp_path):
    store = opened(folder)
    pid = server_pid(folder)
    store.close()
    shutil.rmtree(folder / "c")
    assert wait_until(lambda: not alive(pid))


def test_lost_points_are_noticed(folder):
    store = opened(folder)
    store.upsert(points(0, 5))
    pid = server_pid(folder)
    store.close()
    wait_until(lambda: not alive(pid))
    (folder / "c" / "shard.json").write_text('{"points": 9, "clean": true}')
    with pytest.raises(CollectionError, match=r"damaged.*9 points.*5 were"):
        opened(folder)


def test_a_damaged_shard_is_an_error_with_advice(folder):
    store = opened(folder)
    store.upsert(points(0, 50))
    pid = server_pid(folder)
    store.close()
    wait_until(lambda: not alive(pid))
    for file in (folder / "c" / "shard").rglob("*.json"):
        file.write_bytes(b"\0" * 10)
    with pytest.raises((StoreError, CollectionError)) as caught:
        opened(folder)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("name", ["keeper.log", "keeper.lock", "mutable_id_tracker.versions"])
def test_a_link_in_a_folder_from_elsewhere_leads_to_no_file_of_ours(folder, name):
    store = opened(folder)
    store.upsert(points(0, 5))
    pid = server_pid(folder)
    store.close()
    wait_until(lambda: not alive(pid))
    ours = folder / "ours.txt"
    ours.write_text("precious")
    link = next((folder / "c").rglob(name))
    link.unlink()
    link.symlink_to(ours)
    with pytest.raises((CollectionError, StoreError), match="symbolic link"):
        opened(folder)
    assert ours.read_text() == "precious"


def test_a_full_disk_is_refused_before_writing(folder, monkeypatch):
    from indexer.stores.edge import shard

    (folder / "d").mkdir()
    here = shard.Shard(folder / "d", SCHEMA)  # in this process, where the limit can be moved
    monkeypatch.setattr(shard, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(DiskFullError, match="free some space"):
        here.upsert(points(0, 1))
    assert here.count(None) == 0
    here.close()


def test_a_crash_while_a_vector_is_deleted_from_all_points_damages_none(folder, monkeypatch):
    from indexer.stores.edge import shard

    (folder / "d").mkdir()
    with_names = Schema((*SCHEMA.dense, ("name", 8)), SCHEMA.sparse, SCHEMA.keywords)
    records = [
        replace(r, vectors=dict.fromkeys(("image", "name"), r.vectors["image"]))
        for r in points(0, 3)
    ]
    here = shard.Shard(folder / "d", with_names)
    here.upsert(records)
    update, calls = here._update, []

    def crash(points, operation):
        calls.append(operation)
        if len(calls) == 2:
            raise KeyboardInterrupt
        update(points, operation)

    monkeypatch.setattr(here, "_update", crash)
    with pytest.raises(KeyboardInterrupt):
        here.alter(SCHEMA)
    monkeypatch.undo()
    here.close()
    again = shard.Shard(folder / "d", SCHEMA)
    assert again.check([record.id for record in records]) == []
    assert len(again.scroll(None, 10, None, True)[0]) == 3
    again.close()


def test_a_client_killed_during_a_message_affects_no_other(folder):
    store = opened(folder)
    script = (
        "import sys, os; from pathlib import Path; from indexer.stores.edge.state import connect\n"
        "channel, _ = connect(Path(sys.argv[1]) / 'c')\n"
        "channel._socket.send(b'\\0\\0\\0\\0\\0\\0\\xff\\xff half')\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    store.upsert(points(0, 5))
    assert store.count() == 5
    store.close()


# A folder that is copied, moved or replaced while it is open


def test_a_copy_never_reaches_the_original(folder):
    store = opened(folder)
    store.upsert(points(0, 5))
    subprocess.run(["cp", "-a", folder / "c", folder / "copy"], check=True)
    copy = EdgeStore(folder / "copy")
    copy.ensure(SCHEMA)
    copy.upsert(points(100, 7))
    assert (store.count(), copy.count()) == (5, 12)
    assert server_pid(folder) != server_pid(folder, "copy")
    store.close()
    copy.close()
    assert wait_until(lambda: count_points(folder / "c") == 5)
    assert wait_until(lambda: count_points(folder / "copy") == 12)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_moved_while_it_is_open_keeps_what_is_its_own(folder, replaced):
    store = opened(folder)
    store.upsert(points(0, 5))
    (folder / "c").rename(folder / "moved")
    if replaced:
        (folder / "c").mkdir()
    with pytest.raises(CollectionError, match="moved or replaced" if replaced else "are gone"):
        store.upsert(points(5, 5))
    moved = EdgeStore(folder / "moved")
    moved.ensure(SCHEMA)
    moved.upsert(points(10, 2))
    assert moved.count() == 7
    assert not replaced or not list((folder / "c").iterdir())
    if replaced:
        fresh = opened(folder)
        fresh.upsert(points(20, 1))
        assert (fresh.count(), moved.count()) == (1, 7)
        fresh.close()
    moved.close()
    store.close()


def test_a_server_process_never_writes_to_a_folder_that_takes_its_place(folder):
    """Even while it has not noticed yet: here a client asks it past the checks of `EdgeStore`."""
    store = opened(folder)
    (channel, _), records = connect(folder / "c"), points(0, 6_000)  # more than fit before a flush
    (folder / "c").rename(folder / "moved")
    (folder / "c").mkdir()
    answer = None
    with suppress(EOFError, ConnectionError):  # it may notice meanwhile
        channel.send(("upsert", (records,)))
        answer = channel.receive()
    channel.close()
    store.close()
    assert wait_until(lambda: count_points(folder / "moved") is not None)
    assert not list((folder / "c").iterdir())
    if answer is not None:
        assert (answer, count_points(folder / "moved")) == ((True, None), 6_000)


@pytest.mark.slow
def test_copies_and_moves_during_writes(folder):
    """50 rounds: each point is in the folder that was open when it was written, and in no other."""
    random = np.random.default_rng(0)
    for number in range(50):
        (folder / "c").mkdir(exist_ok=True)
        store, written, errors = opened(folder), [], []

        def write(store=store, written=written, errors=errors):
            try:
                for start in range(0, 100_000, 50):
                    store.upsert(points(start, 50))
                    written.append(start + 50)
            except CollectionError as error:
                errors.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(float(random.uniform(0.02, 0.3)))
        if number % 2:
            subprocess.run(["cp", "-a", folder / "c", folder / f"copy{number}"], check=True)
            other = EdgeStore(folder / f"copy{number}")
            other.ensure(SCHEMA)
            before = other.count()
            other.delete([point.id for point in points(0, 10)])
            assert other.count() == max(before - 10, 0)
            other.close()
        (folder / "c").rename(folder / f"moved{number}")
        (folder / "c").mkdir()
        fresh = opened(folder)
        writer.join()
        assert errors, "the writer went on"
        assert fresh.count() == 0
        fresh.close()
        moved = EdgeStore(folder / f"moved{number}")
        moved.ensure(SCHEMA)
        acknowledged = max(written, default=0)
        assert moved.count() in (acknowledged, acknowledged + 50)  # one may have been on its way
        moved.close()
        store.close()


# Who may connect


HOSTILE = """
import hmac, os, socket, sys  # the other account may not be able to import more
import indexer.stores.edge.state
from indexer.stores.edge.channel import Channel

class Bomb:
    def __reduce__(self):
        return os.mkdir, (sys.argv[2],)

listener = socket.socket(socket.AF_UNIX)
os.setuid(65534)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
Channel.read_peer_uid = lambda self: None
channel = Channel(listener.accept()[0], None)
channel.authenticate(bytes(32), is_server=True)
channel.receive()
channel.send(Bomb())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another account")
@pytest.mark.parametrize("is_owner_known", [True, False])
def test_a_planted_server_file_runs_no_code(folder, monkeypatch, is_owner_known):
    """Somebody gives us a folder whose keeper.json names their socket and their key."""
    shared = Path(tempfile.mkdtemp(dir="/tmp"))
    shared.chmod(0o777)
    address, mark = shared / "x.sock", folder / "mark"
    process = subprocess.Popen(
        [sys.executable, "-c", HOSTILE, address, mark], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    info = ServerInfo(
        address=str(address), key=bytes(32), pid=1, folder=identify_folder(folder / "c")
    )
    write_server(folder / "c", info)
    if not is_owner_known:  # the socket is ours, and the process behind it is not
        os.chown(address, 0, 0)
    try:
        assert connect(folder / "c") is None
        assert not mark.exists()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(shared)


def test_a_silent_client_blocks_nobody(folder):
    store = opened(folder)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(json.loads((folder / "c" / "keeper.json").read_text())["address"])
        second = opened(folder)
        assert second.count() == 0
    second.close()
    store.close()


def test_an_interrupted_request_leaves_no_answer_behind(folder, monkeypatch):
    store = opened(folder)
    store.upsert(points(0, 5))
    with monkeypatch.context() as patch:
        patch.setattr(Channel, "receive", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.scroll()
    assert store.count() == 5
    store.close()


# A server process that hangs


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(channels, "WAIT_INTERVAL", 0.05)
    monkeypatch.setattr(watch, "STOPPED_TIMEOUT", 0.3)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: watch.read_usage(pid)[0] == "T"), "it is still at work"


def test_a_stopped_process_is_an_error_in_words(folder, impatient):
    store = opened(folder)
    store.upsert(points(0, 5))
    pid = server_pid(folder)
    stop(pid)
    expected = (
        rf"process {pid}, which serves {folder}/c, has not answered.*stopped.*kill -CONT {pid}"
    )
    try:
        with pytest.raises(StoreUnavailableError, match=rf"{expected}.*run the command again"):
            store.count()
        with pytest.raises(StoreUnavailableError, match=expected):
            store.count()  # connects again, and gets no answer to the first message
        with pytest.raises(StoreUnavailableError, match=expected):
            opened(folder)
        assert count_points(folder / "c") is None
        (folder / "d").mkdir()
        other = EdgeStore(folder / "d")
        other.ensure(SCHEMA)
        other.upsert(points(0, 1))
        assert other.count() == 1, "another collection is not held up"
        other.close()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert store.count() == 5
    pid = server_pid(folder)  # it may have ended when it went on, as it had no client
    stop(pid)
    with pytest.raises(StoreUnavailableError, match="request: upsert"):
        store.upsert(points(0, 20_000))  # larger than the buffers of a socket
    os.kill(pid, signal.SIGKILL)
    assert store.count() == 5, "as the message says"
    store.close()


@pytest.mark.parametrize(
    ("code", "is_hung"), [("while True: pass", False), ("import time; time.sleep(60)", True)]
)
def test_a_busy_process_does_not_count_as_hung(tmp_path, code, is_hung):
    process = subprocess.Popen([sys.executable, "-c", f"print(flush=True)\n{code}"], stdout=-1)
    process.stdout.readline()
    time.sleep(0.1)
    waiting = watch.Watch(tmp_path, process.pid, 0.5)
    try:
        for _ in range(10):
            waiting.check()
            time.sleep(0.1)
    except StoreUnavailableError as error:
        assert is_hung, error
        assert "uses no processor time" in str(error)
    else:
        assert not is_hung
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_request_has_a_deadline_even_if_the_process_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "REQUEST_TIMEOUT", 0.0)
    with pytest.raises(StoreUnavailableError, match="still running"):
        watch.Watch(tmp_path, os.getpid()).check()


def test_a_lock_that_another_process_keeps_is_an_error_that_names_it(folder, monkeypatch):
    """As of another account, of another container, or of a process that hangs while it closes."""
    monkeypatch.setattr(stores, "START_TIMEOUT", 1.0)
    with (folder / "c" / "keeper.lock").open("w") as lock:
        lock.write("process 4711 on attic")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="in use by process 4711 on attic, which does not"):
            opened(folder)


# Where the socket is


@pytest.mark.parametrize("kind", ["long", "missing", "read-only", "taken"])
def test_any_temporary_folder_will_do(folder, monkeypatch, kind):
    temporary = folder / "t"
    if kind == "long":
        temporary = folder / ("t" * 90) / ("u" * 90)
    if kind != "missing":
        temporary.mkdir(parents=True)
    if kind == "read-only":
        temporary.chmod(0o500)
    if kind == "taken":  # by somebody who has let everybody in
        (temporary / f"polylens-{os.getuid()}").mkdir(mode=0o777)
        (temporary / f"polylens-{os.getuid()}").chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    store = opened(folder)
    address = json.loads((folder / "c" / "keeper.json").read_text())["address"]
    assert len(address) < 104
    assert Path(address).parent.stat().st_mode & 0o777 == 0o700
    assert store.count() == 0
    store.close()
