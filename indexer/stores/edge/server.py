"""The process that owns a collection's shard and serves it.

It is started as `python -m indexer.stores.edge.server PATH`. A Qdrant Edge shard belongs to one
process and never releases Python's global lock. So each open collection has one server process, and
every program (ingest, app, search, at the same time) is a client of it over a local socket: there
is one lock and one writer, no program blocks another, and killing a client does no harm. The
process ends soon after its last client has disconnected.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import signal
import sys
import tempfile
import threading
import time
from multiprocessing import AuthenticationError, connection
from pathlib import Path
from typing import IO

from indexer.errors import IndexerError, StoreError
from indexer.stores.base import Schema
from indexer.stores.edge.shard import Shard, ShardLostError
from indexer.stores.edge.state import SERVER_FILE, connect, write_private_json

IDLE_TIMEOUT = 2.0  # seconds without a client before it ends
POLL_INTERVAL = 0.25  # seconds between two checks
LOCK_TIMEOUT = 60.0  # seconds to wait for another server process that is closing
METHODS = frozenset(
    {"upsert", "patch", "delete", "query_batch", "retrieve", "scroll", "count", "facet", "flush"}
    | {"list_ids", "check", "check_filters", "add_checksums"}
)
Request = tuple[str, tuple[object, ...]]


class ShardServer:
    """Serves one shard to any number of clients, one operation at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shard: Shard | None = None
        self.lock = threading.Lock()  # around the shard
        self.clients: set[connection.Connection] = set()
        self.left = time.monotonic()  # when the last client disconnected
        self.ending = threading.Event()

    def serve(self, listener: connection.Listener) -> None:
        """Accept clients, each in a daemon thread, which does not delay the exit."""
        while not self.ending.is_set():
            try:
                client = listener.accept()
            except (OSError, EOFError, AuthenticationError):
                continue
            self.clients.add(client)
            threading.Thread(target=self.handle_client, args=(client,), daemon=True).start()

    def handle_client(self, client: connection.Connection) -> None:
        """Serve one client until it disconnects or dies."""
        try:
            while True:
                client.send(self.handle_request(client.recv()))
        except (OSError, EOFError):
            pass
        finally:
            self.clients.discard(client)
            self.left = time.monotonic()
            client.close()

    def handle_request(self, request: Request) -> tuple[bool, object]:
        """Return (True, result) or (False, (name of the error class, message))."""
        try:
            with self.lock:
                return True, self.dispatch(*request)
        except ShardLostError as error:
            self.ending.set()  # the next process opens the shard again and replays its log
            return False, (type(error).__name__, str(error))
        except IndexerError as error:
            return False, (type(error).__name__, str(error))
        except Exception as error:  # clients must get an answer
            return False, (StoreError.__name__, f"{type(error).__name__}: {error}")

    def dispatch(self, method: str, arguments: tuple[object, ...]) -> object:
        if method == "ensure":
            (schema,) = arguments
            if self.shard is None and isinstance(schema, Schema):
                self.shard = Shard(self.path, schema)
            return None
        if self.shard is None or method not in METHODS:
            raise StoreError(f"the collection in {self.path} is not open for {method}")
        return getattr(self.shard, method)(*arguments)

    def watch(self) -> None:
        """Return when the process should end: no client, a signal, or no folder."""
        while not self.ending.wait(POLL_INTERVAL):
            if not self.path.exists() or (self.shard and not (self.path / "shard").exists()):
                os._exit(0)  # the points were deleted: nothing to save
            if not self.clients and time.monotonic() - self.left > IDLE_TIMEOUT:
                return

    def close(self) -> None:
        with self.lock:
            if self.shard is not None:
                self.shard.close()


def run(path: Path) -> None:
    """Serve the collection in `path`, or return if another process does."""
    lock = _lock(path)
    if lock is None:
        return
    address = socket_address(path)
    Path(address).unlink(missing_ok=True)  # we hold the lock, so its owner is dead
    key = secrets.token_bytes(32)
    server = ShardServer(path)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: server.ending.set())
    with connection.Listener(address, "AF_UNIX", backlog=64, authkey=key) as listener:
        write_private_json(
            path / SERVER_FILE, {"address": address, "key": key.hex(), "pid": os.getpid()}
        )
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        server.watch()
        (path / SERVER_FILE).unlink(missing_ok=True)  # new clients start a new process
    try:
        server.close()
    finally:
        sys.stderr.flush()
        os._exit(0)  # threads may still wait for clients


def socket_address(path: Path) -> str:
    """A short path in a private folder: socket paths are limited to about 100 bytes."""
    folder = Path(tempfile.gettempdir()) / f"polylens-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(prefix="polylens-"))
    name = hashlib.blake2b(os.fsencode(path.resolve()), digest_size=8).hexdigest()
    return str(folder / f"{name}.sock")


def _lock(path: Path) -> IO[str] | None:
    """The lock on the shard, or None if a running process holds it."""
    file = (path / "keeper.lock").open("a+")
    deadline = time.monotonic() + LOCK_TIMEOUT
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            live = connect(path)
            if live is not None:
                live.close()
                return None
            time.sleep(0.05)
    raise StoreError(f"{path} is locked by a process that does not answer")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
