"""The server process: its socket, loading the model in the background, shutdown.

The first SIGINT or SIGTERM drains: `/readyz` returns 503, new requests are refused, requests in
flight are answered. The second, or 30 seconds, ends it at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from embedder.client.http import is_loopback
from embedder.errors import EmbedderError
from embedder.listener import format_url, handle_end_signals, open_listener
from embedder.server.app import create_app
from embedder.server.service import Service
from embedder.types import Embedder

DRAIN_TIMEOUT = 30
KEEP_ALIVE_TIMEOUT = 75  # seconds; longer than load balancers', so that they close connections


def run_server(
    load: Callable[[], Embedder],
    service: Service,
    *,
    host: str = "127.0.0.1",
    port: int = 8100,
    api_key: str | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until a signal; `notify` gets messages for the terminal.

    Raises `EmbedderError` for a port in use or an invalid key, what `load` raises, and
    `KeyboardInterrupt` after Ctrl-C.
    """
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise EmbedderError("an API key is made of ASCII letters, digits and signs")
    listener = open_listener(host, port)
    if not api_key and not is_loopback(host):
        notify("warning: anyone who reaches this machine can use the model; set --api-key")
    config = uvicorn.Config(
        create_app(service, api_key),
        log_config=None,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
        timeout_graceful_shutdown=5,
    )
    server = DrainingServer(config, service)
    server.load_in_background(load, notify, f"{format_url(listener)}/v1")
    server.run(sockets=[listener])
    if not server.force_exit:
        service.close()
    if server.load_error is not None:
        raise server.load_error
    if server.received_signal == signal.SIGINT:
        raise KeyboardInterrupt


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains before it ends, and answers while the model loads."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._drain_deadline = 0.0
        self.received_signal: int | None = None
        self.load_error: Exception | None = None

    def load_in_background(
        self, load: Callable[[], Embedder], notify: Callable[[str], None], url: str
    ) -> None:
        """Load the model in a thread; an error ends the server."""

        def load_model() -> None:
            try:
                self._service.start_model(load())
                notify(f"{self._service.name} listens on {url}")
            except Exception as error:
                self.load_error = error
                self.should_exit = True

        threading.Thread(target=load_model, name="load", daemon=True).start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with handle_end_signals(self._handle_signal):
            yield

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received_signal is not None:
            self.should_exit = self.force_exit = True
        self.received_signal = number
        self._service.is_draining = True
        self._drain_deadline = time.monotonic() + DRAIN_TIMEOUT

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; called every 0.1 s."""
        drained = not self._service.in_flight or time.monotonic() > self._drain_deadline
        return await super().on_tick(counter) or (self._service.is_draining and drained)
