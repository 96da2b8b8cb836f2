"""The server of the app: its socket, its end, and who may connect.

Streamlit's own launcher would read the files in the current folder, print the URL before the app
answers, and end with the exit code of a crash. So uvicorn serves Streamlit's ASGI application here.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import streamlit
import uvicorn
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app import jobs
from app.media import build_routes
from app.streamlit_config import configure_streamlit
from embedder.client.http import is_loopback
from embedder.listener import handle_end_signals, open_listener

LAYOUT = Path(__file__).with_name("layout.py")
MAX_MESSAGE_BYTES = 200 << 20  # from a browser
PING_SECONDS = 30.0  # to notice a connection that is gone
SHUTDOWN_SECONDS = 3  # for requests in progress
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def run_server(
    *,
    host: str,
    port: int,
    public_host: str | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
    on_wait: Callable[[], None] = lambda: None,
) -> None:
    """Serve the app until a signal.

    Args:
        host: The address to listen on.
        port: The port; 0 picks a free one.
        public_host: The host name in the browser's address bar, if a proxy gives the app another.
        on_ready: Is called with the app's URL once it answers.
        on_wait: Is called at the end if an ingest or an evaluation is to be stopped first.

    Raises:
        EmbedderError: The port is in use, or there is no such address.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    listener = open_listener(host, port)
    name, port = choose_url_host(listener), listener.getsockname()[1]
    hosts = [*LOCAL_HOSTS, name.strip("[]"), *([public_host.lower()] if public_host else [])]
    # Only what is for these names: a web page could give this machine a name of its own.
    allowed_hosts = hosts if is_loopback(host) else []
    configure_streamlit(port, public_host or name, allowed_hosts)
    app = streamlit.App(
        LAYOUT,
        routes=build_routes(),
        middleware=[Middleware(OriginCheck, allowed=hosts, allowed_hosts=allowed_hosts)],
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = AppServer(config, lambda: on_ready(f"http://{name}:{port}"))
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        if jobs.is_any_running():
            on_wait()
        jobs.stop_all()
    if server.received_signal == signal.SIGINT:
        raise KeyboardInterrupt
    if not server.started:
        raise RuntimeError("Streamlit did not start")


def choose_url_host(listener: socket.socket) -> str:
    """The host of a URL that a browser on this machine can open."""
    host = str(listener.getsockname()[0])
    if host in ("0.0.0.0", "::", "127.0.0.1", "::1"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


class OriginCheck:
    """Refuses WebSockets that pages of other origins open, and requests for other hosts, if given.

    Streamlit refuses such WebSockets too, but it first asks a server on the internet for this
    machine's address; it answers other requests, such as those for pictures, for any host.
    """

    def __init__(
        self, app: ASGIApp, allowed: Collection[str], allowed_hosts: Collection[str] = ()
    ) -> None:
        self._app, self._allowed, self._allowed_hosts = app, allowed, allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_host_allowed(Headers(scope=scope)):
            await PlainTextResponse("This host is not allowed.", 400)(scope, receive, send)
            return
        if scope["type"] == "websocket" and not self._is_allowed(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    def _is_host_allowed(self, headers: Headers) -> bool:
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname
        except ValueError:
            return False
        return not self._allowed_hosts or host in self._allowed_hosts

    def _is_allowed(self, headers: Headers) -> bool:
        if "origin" not in headers:  # no browser
            return True
        try:
            origin = urlsplit(headers["origin"])
            return origin.netloc == headers.get("host") or origin.hostname in self._allowed
        except ValueError:
            return False


class AppServer(uvicorn.Server):
    """A uvicorn server that says when it answers, and keeps the signal that ended it."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self.received_signal: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves this out, and then logs that it was cancelled
            await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with handle_end_signals(self._handle_signal):
            yield

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second signal does not wait
        self.should_exit = True
        self.received_signal = number
