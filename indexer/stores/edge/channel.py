"""Messages over a local socket between a shard's server process and its clients.

Messages are pickles, which can run any code. So both ends must be processes of the same account,
and each proves that it knows the key before the other reads more than a challenge. Standard library
only: the server process starts with it.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import answer_challenge, deliver_challenge
from typing import Any, cast

WAIT_INTERVAL = 1.0  # seconds between two calls of `on_wait`
HEADER = struct.Struct("!Q")  # the size of a message
MAX_RECEIVED = 1 << 20  # bytes per call of the system


class Channel:
    """One end of a connection. `on_wait` is called every second that the peer is silent; it raises
    what ends the wait. None waits for ever."""

    def __init__(self, connected: socket.socket, on_wait: Callable[[], None] | None) -> None:
        self._socket = connected
        self.set_on_wait(on_wait)

    def set_on_wait(self, on_wait: Callable[[], None] | None) -> None:
        self._on_wait = on_wait
        self._socket.settimeout(None if on_wait is None else WAIT_INTERVAL)

    def authenticate(self, key: bytes, *, is_server: bool) -> None:
        """Prove to each other that both know `key`; raises `AuthenticationError`, `OSError`,
        `EOFError`, and what `on_wait` raises."""
        uid = self.read_peer_uid()
        if uid not in (None, os.getuid()):
            raise AuthenticationError(f"the process at the other end belongs to account {uid}")
        steps = [deliver_challenge, answer_challenge]
        for step in steps if is_server else reversed(steps):
            step(cast(Any, self), key)

    def send(self, message: object) -> None:
        self.send_bytes(pickle.dumps(message, protocol=5))

    def receive(self) -> Any:
        return pickle.loads(self.recv_bytes())

    def send_bytes(self, data: bytes) -> None:
        for part in (HEADER.pack(len(data)), data):
            view = memoryview(part)
            while view:
                try:
                    view = view[self._socket.send(view) :]
                except TimeoutError:
                    self._wait()

    def recv_bytes(self, maxlength: int | None = None) -> bytes | bytearray:
        (size,) = HEADER.unpack(self._receive_exactly(HEADER.size))
        if maxlength is not None and size > maxlength:
            raise OSError(f"a message of {size} bytes, and at most {maxlength} were expected")
        return bytes(self._receive_exactly(size)) if maxlength else self._receive_exactly(size)

    def close(self) -> None:
        self._socket.close()

    def read_peer_uid(self) -> int | None:
        """The account of the process at the other end; None where the system does not tell."""
        peer = self._read_peer()
        return peer and peer[1]

    def read_peer_pid(self) -> int | None:
        """The process at the other end; None where the system does not tell."""
        peer = self._read_peer()
        return peer and (peer[0] or None)

    def _read_peer(self) -> tuple[int, int] | None:
        if not hasattr(socket, "SO_PEERCRED"):  # macOS: the folder of the socket is private
            return None
        size = struct.calcsize("3i")
        data = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid, uid, _ = struct.unpack("3i", data)
        return pid, uid

    def _receive_exactly(self, size: int) -> bytearray:
        data = bytearray()
        while len(data) < size:
            try:
                received = self._socket.recv(min(size - len(data), MAX_RECEIVED))
            except TimeoutError:
                self._wait()
                continue
            if not received:
                raise EOFError
            data += received
        return data

    def _wait(self) -> None:
        if self._on_wait is not None:
            self._on_wait()
