"""A server that sends its answer a byte at a time: what a time limit of an exchange is for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAUSE = 0.02  # seconds between two bytes
END = 6.0  # seconds until the server gives up, so that a test without a limit ends too
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

DRIPS: dict[str, tuple[bytes, bytes]] = {
    "nothing at all": (b"", b""),
    "a status line": (b"HTTP/1.1 200 ", b"O" * 1000),
    "a header": (OK + b"X: ", b"x" * 1000),
    "headers": (OK, b"X: y\r\n" * 500),
    "informational responses": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50),
    "a chunk's size": (CHUNKED, b"0" * 15 + b"1;" + b"x" * 1000),
    "chunks": (CHUNKED, b"1\r\nx\r\n" * 500),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 500),
    "a body": (OK + b"Content-Length: 1000\r\n\r\n", b"x" * 1000),
}
"""What is sent at once, and then a byte at a time."""


@contextmanager
def serve(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve on this machine; `answer` gets each connection once its request has come."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                answer(connection)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=run, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def drip(name: str) -> Callable[[socket.socket], None]:
    """Answer with one of `DRIPS`."""
    head, tail = DRIPS[name]

    def answer(connection: socket.socket) -> None:
        end = time.monotonic() + END
        connection.sendall(head)
        for byte in tail or bytes(1):
            time.sleep(PAUSE if tail else END)
            if time.monotonic() > end:
                return
            connection.sendall(bytes([byte]))

    return answer
