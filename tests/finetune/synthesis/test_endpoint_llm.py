"""The chat endpoint: what is sent, what is tried again, and what ends the run."""

from __future__ import annotations

import json
import threading
import time

import pytest
from PIL import Image

from embedder.client.address import parse_address
from embedder.client.http import parse_retry_after
from finetune.synthesis import endpoint_llm as module
from finetune.synthesis.endpoint_llm import EndpointLLM
from finetune.synthesis.llm import LanguageModelError, Request, RequestFailedError, RunStoppedError
from finetune.synthesis.llm_factory import LLMOptions, describe_destination, open_llm
from finetune.synthesis.rate_limit import RateLimiter
from finetune.synthesis.request_format import RequestFormat
from finetune.synthesis.schema import answer_schema
from finetune.synthesis.tasks import COMBINATIONS

SCHEMA = answer_schema(COMBINATIONS["vqa"][0])
REQUEST = Request("be good", "write", (Image.new("RGB", (60, 40), "red"),), SCHEMA)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)


@pytest.fixture
def said(chat):
    """`said(answer, ...)`: a client of a server that gives these answers, the last ever after."""

    def connect(*answers, timeout=5.0, key=None, pace=None) -> EndpointLLM:
        if answers:
            chat.answer = lambda _, number: answers[min(number, len(answers) - 1)]
        return EndpointLLM(parse_address(chat.url), "a-model", pace or RateLimiter(), key, timeout)

    return connect


def test_what_is_sent(said, chat):
    reply = said(chat.Answer("words"), key="secret").write(REQUEST)
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


def test_how_an_answer_ended(said, chat):
    client = said(
        chat.Answer("half", finish="length"),
        chat.Answer("", finish="content_filter"),
        chat.Answer("", refusal="I will not"),
    )
    replies = [client.write(REQUEST) for _ in range(3)]
    assert [(reply.truncated, reply.refused) for reply in replies] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_tokens_that_a_server_does_not_tell_are_counted_by_the_rule(said, chat):
    """7 + 5 letters and 3 x 2 squares of 28 pixels; 8 letters."""
    body = json.dumps({"choices": [{"message": {"content": "12345678"}}]})
    reply = said(chat.Answer(body=body)).write(REQUEST)
    assert (reply.tokens_in, reply.tokens_out) == (3 + 6, 2)


def test_a_picture_that_breaks_the_servers_rules_is_refused(said, chat):
    client = said(chat.failed(400, "The response was filtered: content management policy"))
    assert client.write(REQUEST).refused
    assert len(chat.seen) == 1


def test_a_server_that_asks_to_wait_is_waited_for(said, chat):
    client = said(chat.failed(429, "slow down", retry_after="1"), chat.Answer("words"))
    assert client.write(REQUEST).text == "words"
    assert chat.seen[1].at - chat.seen[0].at >= 1.0


def test_all_wait_when_one_is_asked_to(said, chat):
    """The second request, which nobody refused, comes after the pause too."""
    client = said(chat.failed(429, retry_after="1"), chat.Answer("words"))
    first = threading.Thread(target=client.write, args=(REQUEST,))
    first.start()
    while not chat.seen:
        time.sleep(0.01)
    time.sleep(0.2)
    client.write(REQUEST)
    first.join()
    assert all(seen.at - chat.seen[0].at >= 0.95 for seen in chat.seen[1:])


def test_what_passes_is_tried_again(said, chat):
    client = said(*[chat.failed(status) for status in (500, 503, 408, 502)], chat.Answer("words"))
    assert client.write(REQUEST).text == "words"
    assert len(chat.seen) == 5


def test_what_does_not_pass_loses_the_job(said, chat):
    with pytest.raises(RequestFailedError, match="failed 6 times: status 500: out of order"):
        said(chat.failed(500, "out of order")).write(REQUEST)
    assert len(chat.seen) == 6


def test_a_slow_answer_is_not_asked_for_again(said, chat):
    with pytest.raises(RequestFailedError, match=r"did not answer in 0\.3 seconds.*--timeout"):
        said(chat.Answer("words", wait=1), timeout=0.3).write(REQUEST)
    assert len(chat.seen) == 1


def test_nobody_there(said, chat):
    """From the start: the run ends. A server that was there may come back: the job is lost."""
    client = said(chat.Answer("words", headers={"connection": "close"}))
    client.write(REQUEST)
    chat.close()
    with pytest.raises(RequestFailedError, match="cannot be reached"):
        client.write(REQUEST)
    with pytest.raises(LanguageModelError, match=r"cannot be reached.*is it running"):
        said().write(REQUEST)


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "bad key", "status 401: bad key.*POLYLENS_LLM_API_KEY"),
        (403, "not yours", "POLYLENS_LLM_API_KEY"),
        (404, "no such model", "no such model.*--endpoint.*--llm"),
        (402, "pay", "nothing left to spend"),
        (429, "code insufficient_quota", "nothing left to spend"),
    ],
)
def test_what_no_other_request_would_change_ends_the_run(said, chat, status, message, words):
    with pytest.raises(LanguageModelError, match=words):
        said(chat.failed(status, message)).write(REQUEST)
    assert len(chat.seen) == 1


def test_answers_of_something_else(said, chat):
    for body in ("<html>", "[]", '{"choices": []}', '{"choices": [{"message": "x"}]}'):
        with pytest.raises(LanguageModelError, match="something else than a chat's completion"):
            said(chat.Answer(body=body)).write(REQUEST)
    elsewhere = chat.Answer(status=307, body="", headers={"location": "http://example.org/"})
    with pytest.raises(LanguageModelError, match="redirects elsewhere"):
        said(elsewhere).write(REQUEST)
    with pytest.raises(LanguageModelError, match=r"asks to wait 2\.0 hours"):
        said(chat.failed(429, retry_after="7200")).write(REQUEST)


def test_a_server_that_knows_less_gets_less(said, chat):
    """What it refuses is left out, of this request and of those that follow."""

    def old(seen, _):
        body = seen.body
        if "max_tokens" in body:
            return chat.failed(400, "use max_completion_tokens")
        if "temperature" in body:
            return chat.failed(400, "temperature does not apply")
        if body.get("response_format", {}).get("type") == "json_schema":
            return chat.failed(422, "unknown response_format")
        return chat.Answer("words")

    client = said()
    chat.answer = old
    assert client.write(REQUEST).text == client.write(REQUEST).text == "words"
    assert len(chat.seen) == 5
    assert chat.seen[-1].body["response_format"] == {"type": "json_object"}
    assert chat.seen[-1].body["max_completion_tokens"] == RequestFormat().max_tokens
    assert client.form == RequestFormat("json_object", "max_completion_tokens", temperature=None)


def test_a_request_that_is_refused_in_every_form(said, chat):
    client = said(chat.failed(400, "this picture is no picture"))
    with pytest.raises(RequestFailedError, match="this picture is no picture"):
        client.write(REQUEST)
    assert [("response_format" in seen.body) for seen in chat.seen] == [True, True, False]
    assert (
        client.form == RequestFormat()
    )  # the next request is asked for in the strictest form again


def test_so_many_a_minute(said, chat):
    client = said(chat.Answer("words"), pace=RateLimiter(requests_per_minute=300))
    for _ in range(4):
        client.write(REQUEST)
    assert chat.seen[3].at - chat.seen[0].at >= 0.58  # 3 gaps of 0.2 s


def test_a_stop_ends_the_waiting():
    stop = threading.Event()
    pace = RateLimiter(requests_per_minute=1, stop=stop)
    pace.acquire()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(RunStoppedError):
        pace.acquire()
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
        ("http://10.0.0.7:8000/v1", "go to http://10.0.0.7:8000/v1", "pictures and the key travel"),
        (None, "no picture leaves it", None),
    ],
)
def test_it_is_said_where_pictures_go(url, where, warns):
    told, warning = describe_destination(LLMOptions(url, "a-model", "secret"))
    assert where in told
    assert (warns in warning) if warns else warning is None


def test_addresses_and_keys():
    stop = threading.Event()
    writer = open_llm(LLMOptions("http://user:pw@localhost:1/v1#some-model", ""), stop)
    assert writer.name == "some-model"
    assert "pw" not in describe_destination(LLMOptions("http://user:pw@10.0.0.7:1/v1", "x"))[1]
    assert "secret" not in repr(LLMOptions("http://localhost/v1", "x", "secret"))
    with pytest.raises(LanguageModelError, match="--endpoint"):
        open_llm(LLMOptions("localhost:8000", "x"), stop)
    with pytest.raises(LanguageModelError, match="key"):
        open_llm(LLMOptions("http://localhost/v1", "x", "schlüssel"), stop)
    with pytest.raises(LanguageModelError, match="no folder"):
        open_llm(LLMOptions(None, "./nowhere"), stop)


def test_json_is_json(said, chat):
    """What the server gets is what the schema's own reader takes."""
    said(chat.Answer("words")).write(REQUEST)
    assert json.loads(json.dumps(chat.seen[0].body)) == chat.seen[0].body
