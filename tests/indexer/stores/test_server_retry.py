"""Trying again: how often, for how long, and what is not worth it."""

from __future__ import annotations

import json
import logging
import threading

import httpx
import pytest
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from indexer.stores.qdrant.client import Connection
from indexer.stores.qdrant.errors import (
    NotAppliedError,
    RetryTimeoutError,
    find_transient_error,
)
from indexer.stores.qdrant.server import Clock, Server, call_with_retry


class Time:
    """A clock that jumps when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.clock = Clock(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def answer(status: int, body: bytes = b"{}") -> UnexpectedResponse:
    return UnexpectedResponse(status, "", body, httpx.Headers())


class Failing:
    """Fails with each of `errors`, then gives 7; remembers when it was called."""

    def __init__(self, time: Time, *errors: Exception) -> None:
        self.time, self.errors, self.calls = time, list(errors), []

    def __call__(self) -> int:
        self.calls.append(self.time.now - 100)
        if self.errors:
            raise self.errors.pop(0)
        return 7


def test_pauses_grow_and_differ():
    time = Time()
    failing = Failing(time, *[answer(503)] * 9)
    assert call_with_retry(failing, 120, time.clock) == 7
    pauses = [b - a for a, b in zip(failing.calls, failing.calls[1:], strict=False)]
    bounds = [0.25, 0.5, 1, 2, 4, 8, 10, 10, 10]
    assert all(most / 2 <= pause <= most + 1e-6 for pause, most in zip(pauses, bounds, strict=True))
    again = Failing(other := Time(), *[answer(503)] * 9)
    call_with_retry(again, 120, other.clock)
    assert again.calls != failing.calls, "two that wait do not come back at the same moment"


def test_the_server_says_how_long_to_wait():
    time = Time()
    failing = Failing(time, ResourceExhaustedResponse("busy", 17))
    assert call_with_retry(failing, 60, time.clock) == 7
    assert failing.calls == [0, pytest.approx(17)]


def test_no_longer_than_the_limit_even_then():
    time = Time()
    failing = Failing(time, *[ResourceExhaustedResponse("busy", 17)] * 9)
    with pytest.raises(RetryTimeoutError) as caught:
        call_with_retry(failing, 30, time.clock)
    assert failing.calls == pytest.approx([0, 17, 30]), "and a last try when it ends"
    assert caught.value.waited == pytest.approx(30)


def test_the_limit_begins_with_the_first_failure():
    time = Time()

    def slow() -> None:
        time.now += 60
        raise answer(503)

    with pytest.raises(RetryTimeoutError):
        call_with_retry(slow, 100, time.clock)
    assert time.now - 100 == pytest.approx(60 + 0.25 + 60 + 0.5 + 60, abs=1)


def test_without_retries_there_is_one_try():
    time = Time()
    failing = Failing(time, answer(503))
    with pytest.raises(RetryTimeoutError):
        call_with_retry(failing, 0, time.clock)
    assert failing.calls == [0]


def test_an_outage_is_logged_once_for_several_calls(caplog):
    time = Time()
    server = Server(Connection("http://127.0.0.1:1"), time.clock)
    calls = []

    def last() -> int:
        """Waits, sees another call through, fails once more, and is through."""
        calls.append(time.now)
        if len(calls) == 6:
            assert server._call_with_retry(lambda: 7, 60, None) == 7
        if len(calls) < 8:
            raise answer(503)
        return 7

    with caplog.at_level(logging.WARNING, "indexer"):
        assert server._call_with_retry(last, 600, None) == 7
    told = [record.getMessage().rpartition(":")[0] for record in caplog.records]
    assert len(told) == 2, told


def test_a_stop_ends_the_waiting():
    time, stop = Time(), threading.Event()

    def heard(*_: object) -> None:
        stop.set()

    with pytest.raises(RetryTimeoutError):
        call_with_retry(Failing(time, *[answer(503)] * 9), 120, time.clock, heard, stop)
    assert time.now - 100 < 1


def test_ctrl_c_is_not_retried():
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_with_retry(interrupted, 120, Time().clock)


BROKEN = json.JSONDecodeError("Expecting value", "{", 1)
PASSING = [
    *(answer(status) for status in (408, 429, 500, 502, 503, 504)),
    ResourceExhaustedResponse("busy", 3),
    ResponseHandlingException(httpx.ConnectError("refused")),
    ResponseHandlingException(httpx.ReadTimeout("")),
    ResponseHandlingException(httpx.RemoteProtocolError("disconnected")),
    NotAppliedError(),
    BROKEN,
]
LASTING = [
    *(answer(status) for status in (400, 401, 403, 404, 409, 413, 422, 501)),
    ResponseHandlingException(httpx.UnsupportedProtocol("ftp")),
    ValueError("a mistake of ours"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_transient_errors(error):
    assert find_transient_error(error).message


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_permanent_errors(error):
    assert find_transient_error(error) is None
    time = Time()
    failing = Failing(time, error)
    with pytest.raises(type(error)):
        call_with_retry(failing, 120, time.clock)
    assert failing.calls == [0]


def test_the_server_message_is_passed_on():
    error = answer(503, b'{"status": {"error": "Service\\nis in recovery mode"}}')
    assert find_transient_error(error).message == "status 503: Service is in recovery mode"
    assert find_transient_error(answer(502, b"<html>Bad gateway</html>")).message == "status 502"
