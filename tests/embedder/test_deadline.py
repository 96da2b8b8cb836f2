"""The time limit of a request holds for all of it, however slowly the server answers."""

from __future__ import annotations

import time

import httpx
import pytest

from embedder.client.deadline import DeadlineError, install_limits
from embedder.client.http import ServerClient, ServerError, parse_address
from tests import slow_server

LIMIT = 0.3  # seconds


@pytest.mark.parametrize("name", slow_server.DRIPS)
def test_a_model_server_that_drips_is_given_up(name):
    with slow_server.serve(slow_server.drip(name)) as url:
        client = ServerClient(parse_address(url), timeout=LIMIT)
        began = time.monotonic()
        with pytest.raises(ServerError, match="did not answer in"):
            client.get("/models")
    assert time.monotonic() - began < 5 * LIMIT


def test_a_slow_handshake_is_given_up():
    """A record of TLS that is announced and comes a byte at a time."""

    def answer(connection) -> None:
        for byte in b"\x16\x03\x03\x10\x00" + bytes(300):
            connection.sendall(bytes([byte]))
            time.sleep(slow_server.PAUSE)

    with slow_server.serve(answer) as url:
        client = ServerClient(parse_address(url.replace("http:", "https:")), timeout=LIMIT)
        began = time.monotonic()
        with pytest.raises(ServerError):
            client.get("/models")
    assert time.monotonic() - began < 5 * LIMIT + 1  # a handshake is tried twice


def test_a_large_request_that_is_not_read_is_given_up():
    with slow_server.serve(lambda connection: time.sleep(slow_server.END)) as url:
        client = ServerClient(parse_address(url), timeout=LIMIT)
        began = time.monotonic()
        with pytest.raises(ServerError):
            client.post("/embeddings", {"input": "x" * (64 << 20)}, attempts=1)
    assert time.monotonic() - began < 5 * LIMIT + 1


def test_a_proxy_that_drips_is_given_up():
    """The connections to proxies keep the deadline too, and so do new ones after it."""
    with slow_server.serve(slow_server.drip("headers")) as url:
        client = httpx.Client(proxy=url, timeout=5)
        backend = install_limits(client)
        began = time.monotonic()
        with pytest.raises((DeadlineError, httpx.ReadTimeout)), backend.limit(LIMIT):
            client.get("http://models.example/")
        assert time.monotonic() - began < 5 * LIMIT
        assert backend.bound(5) == 5  # the next exchange has its own
