"""The server of the app: its socket, its end, and who has to log in.

Streamlit's own launcher would read the files in the current folder, print the URL before the app
answers, and end with the exit code of a crash. So uvicorn serves Streamlit's ASGI application here.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import streamlit
import uvicorn
from starlette.middleware import Middleware

from app import api, components, downloads, file_manager, jobs, media
from app.access import LOCAL_HOSTS, LOGOUT_PATH, Access, AccessMiddleware, list_own_names
from app.login import Login
from app.permissions import Permissions, set_permissions
from app.streamlit_config import configure_streamlit
from embedder.client.http import is_loopback
from embedder.listener import handle_end_signals, open_listener
from indexer.config import Config
from indexer.errors import ConfigError

LAYOUT = Path(__file__).with_name("layout.py")
MAX_MESSAGE_BYTES = 200 << 20  # from a browser
PING_SECONDS = 30.0  # to notice a connection that is gone
SHUTDOWN_SECONDS = 3  # for requests in progress
M_ARENA_MAX = -8  # of malloc.h


def run_server(
    config: Config,
    *,
    host: str,
    port: int,
    public_host: str | None = None,
    on_ready: Callable[[str, bool], None] = lambda *_: None,
    on_wait: Callable[[], None] = lambda: None,
) -> None:
    """Serve the app until a signal.

    Args:
        config: The settings, which say how visitors log in and what they may read.
        host: The address to listen on.
        port: The port; 0 picks a free one.
        public_host: The host name in the browser's address bar, if a proxy gives the app another.
        on_ready: Is called once it answers, with its URL and whether visitors have to log in.
        on_wait: Is called at the end if an ingest or an evaluation is to be stopped first.

    Raises:
        EmbedderError: The port is in use, or there is no such address.
        ConfigError: Others would reach the app without a login, or the login is set up wrongly.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    limit_malloc_arenas()
    login = Login.from_config(config)
    listener = open_listener(host, port)
    try:
        access = make_access(listener, public_host, config, login)
    except ConfigError:
        listener.close()
        raise
    is_shared = bool(access.public_hosts) or not is_loopback(listener.getsockname()[0])
    roots = config.library_roots
    if roots is None:
        roots = () if is_shared else (str(Path.home()),)
    set_permissions(
        Permissions(
            roots=roots, is_private=not is_shared, logout_url=LOGOUT_PATH[1:] if login else ""
        )
    )
    name, port = choose_url_host(listener), listener.getsockname()[1]
    configure_streamlit(port, public_host or name)
    app = streamlit.App(
        LAYOUT,
        routes=[
            route
            for module in (media, api, downloads, file_manager, components)
            for route in module.build_routes()
        ],
        middleware=[Middleware(AccessMiddleware, access=access)],
        secrets={"auth": dict(login.oidc.auth)} if login.oidc else None,
    )
    server_config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        http="h11",  # httptools, where it is installed, reads headers of any length
        proxy_headers=False,  # whoever connects could write them
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    server = AppServer(server_config, lambda: on_ready(f"http://{name}:{port}", bool(login)))
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


def limit_malloc_arenas() -> None:
    """Have all threads share two arenas of glibc's malloc; elsewhere this does nothing.

    By default each thread may get one, and memory that is freed there is of no use to the others:
    after some hundred searches the app took 670 MB instead of 450.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def make_access(
    listener: socket.socket, public_host: str | None, config: Config, login: Login
) -> Access:
    """Who may connect to what listens there.

    Raises `ConfigError` where other machines would reach it and nobody would have to log in.
    """
    public_hosts = {public_host.lower()} - {"localhost"} if public_host else set()
    if login.oidc:
        public_hosts.add(urlsplit(login.oidc.origin).hostname or "")
    if is_loopback(listener.getsockname()[0]) or (config.app_published_on_localhost and not login):
        hosts = {*LOCAL_HOSTS, choose_url_host(listener).strip("[]")}
        return Access(hosts=frozenset(hosts), public_hosts=frozenset(public_hosts), login=login)
    if not login:
        raise ConfigError(
            f"the app does not listen on {listener.getsockname()[0]} without a login: other "
            "machines could search your pictures. Type: polylens hash-password, and put what it "
            "prints into POLYLENS_APP_PASSWORD_HASH; or set POLYLENS_APP_OIDC_FILE. In a container "
            "whose port is published on localhost alone, set "
            "POLYLENS_APP_PUBLISHED_ON_LOCALHOST=true. See docs/deploy.md"
        )
    return Access(
        hosts=frozenset({*LOCAL_HOSTS, *list_own_names()}),
        public_hosts=frozenset(public_hosts),
        any_address=True,
        login=login,
    )


def choose_url_host(listener: socket.socket) -> str:
    """The host of a URL that a browser on this machine can open."""
    host = str(listener.getsockname()[0])
    if host in ("0.0.0.0", "::", "127.0.0.1", "::1"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


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
