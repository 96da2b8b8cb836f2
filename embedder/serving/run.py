"""The process: its socket, the model loaded behind it, and its end.

The first SIGINT or SIGTERM drains: `/readyz` says 503, new requests are refused, those in the house
are answered. The second, or 30 seconds, end it at once.
"""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from embedder.errors import EmbedderError
from embedder.serving.app import create_app
from embedder.serving.service import Service
from embedder.types import Embedder

DRAIN_SECONDS = 30
KEEP_ALIVE = 75  # seconds; longer than load balancers keep theirs, so that they are who closes


def run(
    load: Callable[[], Embedder],
    service: Service,
    *,
    host: str = "127.0.0.1",
    port: int = 8100,
    api_key: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until a signal comes; `tell` gets what the person at the terminal should know.

    Raises `EmbedderError` for a port that is taken and for a key that no header can hold, what
    `load` raises, and `KeyboardInterrupt` after Ctrl-C.
    """
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise EmbedderError("an API key is made of ASCII letters, digits and signs")
    listener = listen(host, port)
    if not api_key and not is_local(host):
        tell("warning: anyone who reaches this machine can use the model; set --api-key")
    config = uvicorn.Config(
        create_app(service, api_key),
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=5,
    )
    server = Server(config, service)
    server.load_aside(load, tell, address(listener))
    server.run(sockets=[listener])
    if not server.force_exit:
        service.close()
    if server.failure is not None:
        raise server.failure
    if server.signalled == signal.SIGINT:
        raise KeyboardInterrupt


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises `EmbedderError`."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)  # whoever comes before the loop runs waits for it
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise EmbedderError(f"cannot listen on {host}:{port} ({why}); choose --port") from error
    return listener


def address(listener: socket.socket) -> str:
    """The URL that clients use."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server(uvicorn.Server):
    """uvicorn, that drains before it ends and answers while the model is being loaded."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._deadline = 0.0
        self.signalled: int | None = None
        self.failure: Exception | None = None

    def load_aside(
        self, load: Callable[[], Embedder], tell: Callable[[str], None], address: str
    ) -> None:
        """Load the model in a thread; a failure ends the server."""

        def work() -> None:
            try:
                self._service.start(load())
                tell(f"{self._service.name} listens on {address}")
            except Exception as error:
                self.failure = error
                self.should_exit = True

        threading.Thread(target=work, name="load", daemon=True).start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own would raise the signal again at the end: the exit status would be its."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signalled is not None:
            self.should_exit = self.force_exit = True
        self.signalled = number
        self._service.draining = True
        self._deadline = time.monotonic() + DRAIN_SECONDS

    async def on_tick(self, counter: int) -> bool:
        """Every 0.1 s: whether to end."""
        drained = not self._service.busy or time.monotonic() > self._deadline
        return await super().on_tick(counter) or (self._service.draining and drained)
