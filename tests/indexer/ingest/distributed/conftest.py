"""A model on a server that counts what it embeds, and a Ray cluster on this machine."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn

from embedder.server.app import create_app
from embedder.server.schemas import ServerLimits
from embedder.server.service import Service
from tests.embedders import ColorEmbedder


@dataclass(frozen=True, slots=True)
class Served:
    """The color model behind `url`."""

    url: str
    calls: list[int]  # images embedded by each call

    @property
    def images(self) -> int:
        return sum(self.calls)


@pytest.fixture(scope="package")
def served() -> Iterator[Served]:
    model, service = ColorEmbedder(), Service(ServerLimits())
    service.start_model(model)
    listener = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(create_app(service), log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", model.calls)
    server.should_exit = True
    thread.join(10)
    service.close()


@pytest.fixture(scope="package", autouse=True)
def token() -> Iterator[None]:
    """A token for this run, before Ray is imported: it would write one into the home folder."""
    before = dict(os.environ)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="package")
def ray(token) -> Iterator[None]:
    """Ray with room for two workers, shared by the tests of this folder."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("the extra polylens[ray] is not installed")
    from indexer.ingest.distributed.ray_cluster import connect

    with connect("local:2"):
        yield
