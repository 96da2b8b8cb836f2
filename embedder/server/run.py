"""The server process: its socket, loading the model in the background, shutdown.

The first SIGINT or SIGTERM drains: `/readyz` returns 503, new requests are refused with 503, and
requests in flight are answered. Those that take too long are refused with 503 too, so that the
process ends within 10 seconds, which is what Docker gives it. A second signal ends it at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from math import inf
from types import FrameType

import uvicorn

from embedder.client.http import is_loopback
from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.listener import format_url, handle_end_signals, open_listener
from embedder.server.app import create_app
from embedder.server.service import Service

DRAIN_TIMEOUT = 7.0  # seconds for the requests in flight
EXIT_TIMEOUT = 9.5  # seconds until the process ends, with the sending of answers
KEEP_ALIVE_TIMEOUT = 75  # seconds; longer than load balancers', so that they close connections


def run_server(
    load: Callable[[], EmbeddingModel],
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
        http="h11",  # httptools, where it is installed, reads headers of any length
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
    )
    server = DrainingServer(config, service)
    server.load_in_background(load, notify, f"{format_url(listener)}/v1")
    server.run(sockets=[listener])
    if not server.force_exit:
        service.close(server.seconds_left)
    if server.load_error is not None:
        raise server.load_error
    if server.received_signal == signal.SIGINT:
        raise KeyboardInterrupt


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains before it ends, and answers while the model loads."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._ends_at = inf  # time.monotonic() at which it is over
        self.received_signal: int | None = None
        self.load_error: Exception | None = None

    def load_in_background(
        self, load: Callable[[], EmbeddingModel], notify: Callable[[str], None], url: str
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
        else:
            self._ends_at = time.monotonic() + EXIT_TIMEOUT
        self.received_signal = number
        self._service.is_draining = True

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the process has to end; None without a signal."""
        return None if self._ends_at == inf else max(self._ends_at - time.monotonic(), 0.0)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; called every 0.1 s."""
        left = self.seconds_left
        if left is not None:
            if left < EXIT_TIMEOUT - DRAIN_TIMEOUT:
                self._service.refuse_in_flight()
            self.config.timeout_graceful_shutdown = max(int(left), 1)  # for answers being sent
        ends = await super().on_tick(counter)
        return ends or (self._service.is_draining and not self._service.in_flight)
