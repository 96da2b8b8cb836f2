"""The socket that a server of this program listens on, and the signals that end it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

from embedder.errors import EmbedderError

BACKLOG = 128  # connections that wait until the server's loop runs


def open_listener(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 picks a free one.

    Raises:
        EmbedderError: The port is in use, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, socket_address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name != "nt":  # there it would allow two servers on one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(socket_address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise EmbedderError(f"cannot listen on {host}:{port}: {_explain(error)}") from error
    return listener


def _explain(error: Exception) -> str:
    """What is wrong, and which option to change."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return "there is no host of this name; choose another with --host"
    if isinstance(error, OSError):
        if error.errno == errno.EADDRINUSE:
            return "another program uses this port; choose another with --port, or 0 for a free one"
        if error.errno == errno.EADDRNOTAVAIL:
            return "this machine does not have this address; choose another with --host"
        if error.errno in (errno.EACCES, errno.EPERM):
            return "this port needs more rights; choose one from 1024 on with --port"
        return f"{error.strerror or error}; choose another address with --host or --port"
    return str(error)


def format_url(listener: socket.socket) -> str:
    """The URL of what listens there, as a program on this machine reaches it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def handle_end_signals(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM handled by `handle` inside the context.

    It stands in for uvicorn's `capture_signals`, which raises the signal again and so sets the exit
    status.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    previous_handlers = {n: signal.signal(n, handle) for n in signals}
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
