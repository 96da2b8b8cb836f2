"""The chat endpoint: what is sent, what is retried, and what ends the run."""

from __future__ import annotations

import json
import threading
import time

import pytest
from PIL import Image

from embedder.client.http import parse_retry_after
from finetune.synthesis import llm as module
from finetune.synthesis.llm import (
    SENT_HEADERS,
    EndpointLLM,
    LanguageModelError,
    LLMOptions,
    RateLimiter,
    Request,
    RequestFailedError,
    RequestFormat,
    RunStoppedError,
    describe_destination,
)
from finetune.synthesis.plan import COMBINATIONS
from finetune.synthesis.prompt_templates import answer_schema
from finetune.synthesis.session import open_llm
from tests import slow_server
from tests.recording_server import record

SCHEMA = answer_schema(COMBINATIONS["vqa"][0])
REQUEST = Request(
    system="be good", text="write", images=(Image.new("RGB", (60, 40), "red"),), schema=SCHEMA
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)


@pytest.fixture
def connect(chat):
    """`connect(answer, ...)`: a client of a server with these answers; the last one repeats."""

    def build(*answers, **options) -> EndpointLLM:
        if answers:
            chat.answer = lambda _, number: answers[min(number, len(answers) - 1)]
        given = {"endpoint": chat.url, "llm": "a-model", "timeout": 5.0, **options}
        return EndpointLLM(LLMOptions(**given), threading.Event())

    return build


def test_what_is_sent(connect, chat):
    reply = connect(chat.Answer("words"), api_key="secret").generate(REQUEST)
    assert (reply.text, reply.tokens_in, reply.tokens_out) == ("words", 2000, 500)
    assert not (reply.truncated or reply.refused)
    (seen,) = chat.seen
    assert seen.headers["Authorization"] == "Bearer secret"
    assert seen.body["model"] == "a-model"
    assert seen.body["messages"][0] == {"role": "system", "content": "be good"}
    assert [part["type"] for part in seen.parts] == ["text", "image_url", "text"]
    assert (seen.parts[0]["text"], seen.text) == ("Picture 1:", "write")
    assert seen.pictures[0].getpixel((5, 5)) == (255, 0, 0)
    assert seen.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "sample", "strict": True, "schema": SCHEMA},
    }


def test_nothing_else_is_sent(connect, chat, monkeypatch):
    """Neither what openai tells of the machine, nor what its environment variables hold."""
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://example.org/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Extra: extra\nAuthorization: extra")
    connect(chat.Answer("words")).generate(REQUEST)
    (seen,) = chat.seen
    assert {name.lower() for name in seen.headers} <= SENT_HEADERS
    connect(endpoint=chat.url.replace("://", "://user:p%40ss@")).generate(REQUEST)
    assert chat.seen[1].headers["Authorization"] == "Basic dXNlcjpwQHNz"
    connect(api_key="secret").generate(REQUEST)
    assert chat.seen[2].headers["Authorization"] == "Bearer secret"


def test_how_an_answer_ended(connect, chat):
    client = connect(
        chat.Answer("half", finish="length"),
        chat.Answer("", finish="content_filter"),
        chat.Answer("", refusal="I will not"),
    )
    replies = [client.generate(REQUEST) for _ in range(3)]
    assert [(reply.truncated, reply.refused) for reply in replies] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_tokens_are_estimated_if_the_server_reports_none(connect, chat):
    """7 + 5 letters and 3 x 2 squares of 28 pixels; 8 letters."""
    body = json.dumps({"choices": [{"message": {"content": "12345678"}}]})
    reply = connect(chat.Answer(body=body)).generate(REQUEST)
    assert (reply.tokens_in, reply.tokens_out) == (3 + 6, 2)


def test_a_content_policy_error_is_a_refusal(connect, chat):
    client = connect(chat.failed(400, "The response was filtered: content management policy"))
    assert client.generate(REQUEST).refused
    assert len(chat.seen) == 1


def test_retry_after_is_respected(connect, chat):
    client = connect(chat.failed(429, "slow down", retry_after="1"), chat.Answer("words"))
    assert client.generate(REQUEST).text == "words"
    assert chat.seen[1].at - chat.seen[0].at >= 1.0


def test_retry_after_holds_back_all_requests(connect, chat):
    """The second request, which was not rejected, waits as well."""
    client = connect(chat.failed(429, retry_after="1"), chat.Answer("words"))
    first = threading.Thread(target=client.generate, args=(REQUEST,))
    first.start()
    while not chat.seen:
        time.sleep(0.01)
    time.sleep(0.2)
    client.generate(REQUEST)
    first.join()
    assert all(seen.at - chat.seen[0].at >= 0.95 for seen in chat.seen[1:])


def test_temporary_errors_are_retried(connect, chat):
    client = connect(*[chat.failed(s) for s in (500, 503, 408, 502)], chat.Answer("words"))
    assert client.generate(REQUEST).text == "words"
    assert len(chat.seen) == 5


def test_a_lasting_error_fails_the_request(connect, chat):
    with pytest.raises(RequestFailedError, match="failed 6 times: status 500: out of order"):
        connect(chat.failed(500, "out of order")).generate(REQUEST)
    assert len(chat.seen) == 6


def test_a_timeout_is_not_retried(connect, chat):
    with pytest.raises(RequestFailedError, match=r"did not answer in 0\.3 seconds.*--timeout"):
        connect(chat.Answer("words", wait=1), timeout=0.3).generate(REQUEST)
    assert len(chat.seen) == 1


def test_an_unreachable_server(connect, chat):
    """If it never answered, the run ends. If it did, it may come back, and one job fails."""
    client = connect(chat.Answer("words", headers={"connection": "close"}))
    client.generate(REQUEST)
    chat.close()
    with pytest.raises(RequestFailedError, match="cannot be reached"):
        client.generate(REQUEST)
    with pytest.raises(LanguageModelError, match=r"cannot be reached.*is the server running"):
        connect().generate(REQUEST)


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "bad key", "status 401: bad key.*POLYLENS_LLM_API_KEY"),
        (403, "not yours", "POLYLENS_LLM_API_KEY"),
        (404, "no such model", "no such model.*--endpoint.*--llm"),
        (402, "pay", "no credit left"),
        (429, "code insufficient_quota", "no credit left"),
    ],
)
def test_fatal_statuses_end_the_run(connect, chat, status, message, words):
    with pytest.raises(LanguageModelError, match=words):
        connect(chat.failed(status, message)).generate(REQUEST)
    assert len(chat.seen) == 1


def test_answers_that_are_no_completions(connect, chat):
    for body in ("<html>", "[]", '{"choices": []}', '{"choices": [{"message": "x"}]}'):
        with pytest.raises(LanguageModelError, match="did not answer with a chat completion"):
            connect(chat.Answer(body=body)).generate(REQUEST)
    elsewhere = chat.Answer(status=307, body="", headers={"location": "http://example.org/"})
    with pytest.raises(LanguageModelError, match="redirects to another address"):
        connect(elsewhere).generate(REQUEST)
    with pytest.raises(LanguageModelError, match=r"asks to wait 2\.0 hours"):
        connect(chat.failed(429, retry_after="7200")).generate(REQUEST)


def test_rejected_fields_are_left_out(connect, chat):
    """In this request and in those that follow."""

    def old(seen, _):
        body = seen.body
        if "max_tokens" in body:
            return chat.failed(400, "use max_completion_tokens")
        if "temperature" in body:
            return chat.failed(400, "temperature does not apply")
        if body.get("response_format", {}).get("type") == "json_schema":
            return chat.failed(422, "unknown response_format")
        return chat.Answer("words")

    client = connect()
    chat.answer = old
    assert client.generate(REQUEST).text == client.generate(REQUEST).text == "words"
    assert len(chat.seen) == 5
    assert chat.seen[-1].body["response_format"] == {"type": "json_object"}
    assert chat.seen[-1].body["max_completion_tokens"] == RequestFormat().max_tokens
    assert client.request_format == RequestFormat(
        response_format="json_object", limit_field="max_completion_tokens", temperature=None
    )


def test_a_request_that_is_rejected_in_every_format(connect, chat):
    client = connect(chat.failed(400, "this picture is no picture"))
    with pytest.raises(RequestFailedError, match="this picture is no picture"):
        client.generate(REQUEST)
    assert [("response_format" in seen.body) for seen in chat.seen] == [True, True, False]
    assert (
        client.request_format == RequestFormat()
    )  # the next request starts with the strictest format again


def test_requests_per_minute(connect, chat):
    client = connect(chat.Answer("words"), requests_per_minute=300)
    start = time.monotonic()
    for _ in range(5):
        client.generate(REQUEST)
    assert chat.seen[4].at - start >= 0.8  # 4 gaps of 0.2 s


def test_stopping_ends_the_waiting():
    stop = threading.Event()
    limiter = RateLimiter(requests_per_minute=1, stop=stop)
    limiter.acquire()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(RunStoppedError):
        limiter.acquire()
    assert time.monotonic() - began < 5


def test_retry_after():
    assert parse_retry_after("3") == 3.0
    assert parse_retry_after("0.5") == 0.5
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert 10**8 < parse_retry_after("Wed, 21 Oct 2099 07:28:00 GMT") < 10**10
    assert parse_retry_after("") is parse_retry_after("soon") is None


@pytest.mark.parametrize(
    ("url", "where", "warns"),
    [
        ("http://localhost:8000/v1", "on this machine", None),
        ("https://api.example.org/v1", "go to https://api.example.org/v1", None),
        (
            "http://10.0.0.7:8000/v1",
            "go to http://10.0.0.7:8000/v1",
            "pictures and the key are sent",
        ),
        (None, "no picture leaves it", None),
    ],
)
def test_describe_destination(url, where, warns):
    options = LLMOptions(endpoint=url, llm="a-model", api_key="secret")
    message, warning = describe_destination(options)
    assert where in message
    assert (warns in warning) if warns else warning is None


def test_addresses_and_keys():
    def open_endpoint(endpoint, llm="x", **options):
        return open_llm(LLMOptions(endpoint=endpoint, llm=llm, **options), threading.Event())

    assert open_endpoint("http://user:pw@localhost:1/v1#some-model", "").name == "some-model"
    with_password = LLMOptions(endpoint="http://user:pw@10.0.0.7:1/v1", llm="x")
    assert "pw" not in describe_destination(with_password)[1]
    assert "secret" not in repr(LLMOptions(endpoint="http://a/v1", llm="x", api_key="secret"))
    with pytest.raises(LanguageModelError, match="--endpoint"):
        open_endpoint("localhost:8000")
    with pytest.raises(LanguageModelError, match="key"):
        open_endpoint("http://localhost/v1", api_key="schlüssel")
    with pytest.raises(LanguageModelError, match="no folder"):
        open_endpoint(None, "./nowhere")


def test_json_is_json(connect, chat):
    """The body survives a round trip through JSON."""
    connect(chat.Answer("words")).generate(REQUEST)
    assert json.loads(json.dumps(chat.seen[0].body)) == chat.seen[0].body


@pytest.mark.parametrize("name", ["headers", "chunks"])
def test_a_server_that_drips_is_given_up(connect, name):
    with slow_server.serve(slow_server.drip(name)) as url:
        began = time.monotonic()
        with pytest.raises(RequestFailedError, match="did not answer in"):
            connect(endpoint=url, timeout=0.3).generate(REQUEST)
    assert time.monotonic() - began < 2


def test_a_response_without_an_end_is_given_up(connect, chat, monkeypatch):
    monkeypatch.setattr("finetune.synthesis.llm.MAX_RESPONSE_BYTES", 1000)
    with pytest.raises(RequestFailedError, match="longer than"):
        connect(chat.Answer("words" * 1000)).generate(REQUEST)
    assert len(chat.seen) == 1 and chat.seen[0].headers["Accept-Encoding"] == "identity"


def test_the_key_of_another_server_is_not_sent(connect, chat):
    client = connect(chat.failed(401), api_key="secret", api_key_url="https://api.openai.com/v1")
    with pytest.raises(LanguageModelError, match="was not sent") as error:
        client.generate(REQUEST)
    assert f"POLYLENS_LLM_API_KEY_URL={chat.url.removesuffix('/v1')}" in str(error.value)
    assert "Authorization" not in chat.seen[0].headers
    same = chat.url.replace("/v1", "/other")
    connect(chat.Answer("words"), api_key="secret", api_key_url=same).generate(REQUEST)
    assert chat.seen[-1].headers["Authorization"] == "Bearer secret"


def test_a_redirect_carries_no_key(connect, chat):
    with record() as other:
        moved = chat.Answer(status=307, headers={"Location": other.url})
        client = connect(moved, api_key="secret")
        with pytest.raises(LanguageModelError, match="redirects to another address"):
            client.generate(REQUEST)
    assert not other.requests
