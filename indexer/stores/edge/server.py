"""The process that owns a collection's shard and serves it.

It is started as `python -m indexer.stores.edge.server PATH SERVER_DIR`. A Qdrant Edge shard belongs
to one process and never releases Python's global lock. So each open collection has one server
process, and every program (ingest, app, search, at the same time) is a client of it over a local
socket: there is one lock and one writer, no program blocks another, and killing a client does no
harm. The process ends soon after its last client has disconnected.

It works in the folder that PATH named when it started, as its working directory: when that folder
is moved, and another one takes its place, nothing is written to the other one. A read-only folder
is copied to a temporary folder, where the engine can open it; the copy is deleted at the end.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import AuthenticationError
from pathlib import Path
from typing import IO

from embedder.files import delete_stale_parts, make_private_dir, make_umask, open_private
from indexer.errors import IndexerError, StoreBusyError, StoreError
from indexer.stores.base import Schema
from indexer.stores.edge.channel import Channel
from indexer.stores.edge.read_only import COPY_DIR, copy_shard, delete_stale_copies
from indexer.stores.edge.shard import Shard, ShardLostError
from indexer.stores.edge.state import (
    LOCK_FILE,
    LOCK_POLL_INTERVAL,
    SERVER_FILE,
    ServerInfo,
    connect,
    find_private_dir,
    identify_folder,
    in_use_message,
    is_read_only,
    lock_file,
    read_only_message,
    write_server,
)

IDLE_TIMEOUT = 2.0  # seconds without a client before it ends
POLL_INTERVAL = 0.25  # seconds between two checks
LOCK_TIMEOUT = 50.0  # seconds to wait for another server process that is closing
HANDSHAKE_TIMEOUT = 30.0  # seconds for a client to prove that it knows the key
STALE_SOCKET_AGE = 3600.0  # seconds
HERE = Path()  # the folder of the collection, wherever it has been moved
READS = frozenset(
    {"query_batch", "retrieve", "scroll", "count", "facet", "flush"}
    | {"list_ids", "check", "check_filters"}
)
WRITES = frozenset({"alter", "upsert", "patch", "delete", "delete_vectors", "add_checksums"})
Request = tuple[str, tuple[object, ...]]


class ShardServer:
    """Serves the shard in the working directory, which is at `path`, to any number of clients, one
    operation at a time."""

    def __init__(self, path: Path, server_dir: Path) -> None:
        self.path, self.folder, self.server_dir = path, identify_folder(HERE), server_dir
        self.is_read_only = is_read_only(HERE)
        self.shard: Shard | None = None
        self.lock = threading.Lock()  # around the shard
        self.clients: set[Channel] = set()
        self.left = time.monotonic()  # when the last client disconnected
        self.ending = threading.Event()

    def serve(self, listener: socket.socket, key: bytes) -> None:
        """Accept clients, each in a daemon thread, which does not delay the exit."""
        while not self.ending.is_set():
            try:
                connected, _ = listener.accept()
            except OSError:
                continue
            threading.Thread(target=self.handle_client, args=(connected, key), daemon=True).start()

    def handle_client(self, connected: socket.socket, key: bytes) -> None:
        """Serve one client until it disconnects or dies."""
        deadline = time.monotonic() + HANDSHAKE_TIMEOUT

        def end_wait() -> None:
            if time.monotonic() > deadline:
                raise TimeoutError

        client = Channel(connected, end_wait)
        try:
            client.authenticate(key, is_server=True)
            is_ours = client.receive() == self.folder and self.is_in_place()
            if is_ours:
                self.clients.add(client)
            client.send(is_ours)
            client.set_on_wait(None)
            while is_ours:
                client.send(self.handle_request(client.receive()))
        except (OSError, EOFError, AuthenticationError, AssertionError):
            pass
        finally:
            if client in self.clients:
                self.left = time.monotonic()  # before `watch` finds that there is no client
                self.clients.discard(client)
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
            schema, accept_older = arguments
            if self.shard is None and isinstance(schema, Schema):
                if self.is_read_only:
                    copy_shard(HERE, self.shard_dir, self.path)
                self.shard = Shard(
                    self.shard_dir, schema, self.path, accept_older=bool(accept_older)
                )
                return self.shard.loss
            return None
        if self.is_read_only and method in WRITES:
            raise StoreError(read_only_message(self.path))
        if self.shard is None or method not in READS | WRITES:
            raise StoreError(f"the collection in {self.path} is not open for {method}")
        return getattr(self.shard, method)(*arguments)

    @property
    def shard_dir(self) -> Path:
        """The folder that contains the shard."""
        return self.server_dir / COPY_DIR if self.is_read_only else HERE

    def is_in_place(self) -> bool:
        """Whether `path` is still the folder that this process works in."""
        try:
            return identify_folder(self.path) == self.folder
        except OSError:
            return False

    def is_deleted(self) -> bool:
        """Whether the folder or its points were deleted, so that there is nothing to save."""
        is_open = self.shard is not None
        return not HERE.stat().st_nlink or (is_open and not (self.shard_dir / "shard").exists())

    def watch(self) -> None:
        """Return when the process should end: no client, a signal, or a folder that was moved or
        deleted."""
        while not self.ending.wait(POLL_INTERVAL) and self.is_in_place() and not self.is_deleted():
            if not self.clients and time.monotonic() - self.left > IDLE_TIMEOUT:
                return

    def close(self) -> None:
        with self.lock:
            if self.shard is not None:
                self.shard.close()


def run(path: Path, server_dir: Path) -> None:
    """Serve the collection in `path`, or return if another process does.

    Args:
        path: The folder of the collection.
        server_dir: The same, or that of the copy for a read-only one; see `find_server_dir`.

    Raises `StoreError`, `OSError`.
    """
    os.chdir(path)
    os.umask(make_umask(HERE))  # what the engine creates is as private as the other files
    if not is_read_only(HERE):
        server_dir = HERE
    make_private_dir(server_dir)
    lock = _lock(path, server_dir)
    if lock is None:
        return
    if is_read_only(HERE):
        delete_stale_copies(server_dir.parent)
    delete_stale_parts(server_dir)
    server, key = ShardServer(path, server_dir), secrets.token_bytes(32)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: server.ending.set())
    name = hashlib.blake2b(repr(server.folder).encode(), digest_size=8).hexdigest()
    address = find_private_dir() / f"{name}.sock"
    address.unlink(missing_ok=True)  # we hold the lock, so its owner is dead
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        info = ServerInfo(address=str(address), key=key, pid=os.getpid(), folder=server.folder)
        write_server(server_dir, info)
        threading.Thread(target=server.serve, args=(listener, key), daemon=True).start()
        server.watch()
        (server_dir / SERVER_FILE).unlink(missing_ok=True)  # new clients start a new process
        address.unlink(missing_ok=True)
        _delete_stale_sockets(address.parent)
    try:
        if not server.is_deleted():
            server.close()
    finally:
        if server.is_read_only:  # the lock stays: another process may wait for it
            shutil.rmtree(server.shard_dir, ignore_errors=True)
        sys.stderr.flush()
        os._exit(0)  # threads may still wait for clients


def _delete_stale_sockets(folder: Path) -> None:
    """Delete the old sockets of processes that were killed, and whose folders nobody opened."""
    for address in folder.glob("*.sock"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            if time.time() - address.lstat().st_mtime > STALE_SOCKET_AGE:
                try:
                    client.connect(str(address))
                except ConnectionRefusedError:
                    address.unlink()


def _lock(path: Path, server_dir: Path) -> IO[bytes] | None:
    """The lock on the shard, or None if a running process that answers holds it."""
    file = open_private(server_dir / LOCK_FILE, "a+b")
    deadline = time.monotonic() + LOCK_TIMEOUT
    while time.monotonic() < deadline:
        if lock_file(file):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            file.flush()
            return file
        live = connect(path)
        if live is not None:
            live[0].close()
            return None
        time.sleep(LOCK_POLL_INTERVAL)
    raise StoreBusyError(in_use_message(path, server_dir / LOCK_FILE))


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]), Path(sys.argv[2]))
    except (IndexerError, OSError) as error:
        sys.exit(str(error))
