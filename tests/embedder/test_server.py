"""`embedder serve` as a process of its own, called by OpenAI's client and by the remote family."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from starlette.testclient import TestClient

from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.families import remote
from embedder.families.starter.model import Starter
from embedder.server.app import create_app
from embedder.server.batcher import Batcher, Metrics
from embedder.server.schemas import ServerLimits
from embedder.server.service import Service, make_public_name
from embedder.types import Input, Settings
from tests.embedder.toy_server import Toy
from tests.embedders import CARD as COLORS
from tests.embedders import ColorEmbedder

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).with_name("toy_server.py")
KEY = "secret"
LIMITS = {"--max-bytes": 400_000, "--max-pixels": 500_000, "--max-inputs": 40}


def start(*words: object, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )


def end(process: subprocess.Popen, number: int = signal.SIGTERM) -> int:
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(20)
    finally:
        process.kill()
        process.stderr.close()


def address(process: subprocess.Popen) -> str:
    for line in process.stderr:
        if found := re.search(r"listens on (\S+)", line):
            return found[1]
    raise AssertionError("the server ended")


@contextmanager
def toy(**settings: object):
    """(address, process) of tests/embedder/toy_server.py."""
    process = start(TOY, *(f"{name}={value}" for name, value in settings.items()))
    try:
        yield address(process), process
    finally:
        end(process)


@pytest.fixture(scope="module")
def starter() -> Starter:
    return Starter()


@pytest.fixture(scope="module")
def served():
    """The address of a server with the starter model, a key and small limits."""
    words = [word for pair in LIMITS.items() for word in pair]
    process = start("-m", "embedder", "serve", "--port", 0, *words, POLYLENS_SERVE_API_KEY=KEY)
    yield address(process)
    assert end(process) == 0


@pytest.fixture(scope="module")
def toys():
    with toy() as (url, _):
        yield url


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=served, api_key=KEY, max_retries=0)


def post(url: str, body: object, key: str | None = KEY, **more) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{url}/embeddings", json=body, headers=headers, timeout=60, **more)


def ask(url: str, *texts: str, **more) -> httpx.Response:
    return post(url, {"model": "toy", "input": list(texts), **more}, key=None)


def picture(url: str) -> list[dict]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [part]}]


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def noise(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC)


def counted(url: str) -> dict[str, float]:
    lines = httpx.get(url.replace("/v1", "/metrics")).text.splitlines()
    return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def state(url: str) -> int:
    return httpx.get(url.replace("/v1", "/readyz")).status_code


# OpenAI's client


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_openais_client_gets_the_models_vectors(client, starter, encoding):
    texts = ["a red bicycle", "ein rotes Fahrrad", "a cat"]
    more = {"encoding_format": encoding} if encoding else {}
    answer = client.embeddings.create(model="starter", input=texts, **more)
    rows = [row.embedding for row in answer.data]
    if encoding == "base64":
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    np.testing.assert_allclose(rows, starter.embed([Input(t) for t in texts], "query"), atol=1e-6)
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert answer.model == "starter"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens
    assert answer.usage.prompt_tokens == sum(map(starter._text_tower.count_tokens, texts)) == 25


def test_openais_client_lists_the_model(client, starter):
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("starter", "polylens")
    assert model.polylens["fingerprint"] == starter.card.fingerprint


def test_openais_client_understands_refusals(client, served):
    with pytest.raises(openai.NotFoundError, match="served: starter"):
        client.embeddings.create(model="ada", input="a cat")
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="starter", input="a cat", dimensions=128)
    for key in ("wrong", KEY[:-1]):
        stranger = openai.OpenAI(base_url=served, api_key=key, max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    assert client.embeddings.create(model="starter", input="a cat", dimensions=384).data


# our client


def test_the_remote_family_gives_the_models_vectors(served, starter):
    there = remote.load(served, Settings(api_key=KEY))
    inputs = [Input(f"a cat and {n} dogs") for n in range(50)]  # more than a request may hold
    inputs += [Input(images=(noise(1),)), Input("at night", (noise(2), noise(3)))]
    rows = there.embed(inputs, "document")
    np.testing.assert_allclose(rows, starter.embed(inputs, "document"), atol=1e-6)
    assert there.embed([], "query").shape == (0, 384)


def test_the_remote_family_uses_the_servers_card(served, starter):
    card = remote.describe(served.upper().replace("/V1", "/v1/"), Settings(api_key=KEY))
    assert card.name == f"{served}#starter" and card.family == "remote"
    for field in ("fingerprint", "languages", "modalities", "composes", "image_side", "dim"):
        assert getattr(card, field) == getattr(starter.card, field)


def test_the_remote_family_shows_the_servers_errors(served):
    with pytest.raises(EmbedderError, match="POLYLENS_MODEL_API_KEY"):
        remote.load(served, Settings(api_key="wrong"))
    with pytest.raises(EmbedderError, match="dim 384, not 64"):
        remote.load(served, Settings(api_key=KEY, dim=64))
    with pytest.raises(EmbedderError, match="pixel budget"):
        remote.load(served, Settings(api_key=KEY, pixel_budget=1))
    grain = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    there = remote.load(served, Settings(api_key=KEY))
    with pytest.raises(EmbedderError, match="400000 bytes"):
        there.embed([Input(images=(Image.fromarray(grain),))], "document")
    with pytest.raises(EmbedderError, match="surrogate"):
        there.embed([Input("half a letter \ud800")], "document")


def test_32_clients_get_their_own_vectors(served, starter):
    there = remote.load(served, Settings(api_key=KEY))
    inputs = [Input(f"picture {n} of a horse") for n in range(32)]
    with ThreadPoolExecutor(32) as pool:
        rows = list(pool.map(lambda item: there.embed([item], "query")[0], inputs))
    np.testing.assert_allclose(rows, starter.embed(inputs, "query"), atol=1e-6)
    seen = counted(served)
    assert seen["polylens_batch_size_sum"] > seen["polylens_batch_size_count"]  # some shared one


def test_role_instruction_and_dim_reach_the_model(toys):
    there = remote.load(toys, Settings())
    whole = there.embed([Input("a")], "document", "find")
    assert not np.allclose(whole, there.embed([Input("a")], "document"))
    assert not np.allclose(
        there.embed([Input("a")], "query"), there.embed([Input("a")], "document")
    )
    short = remote.load(toys, Settings(dim=4))
    cut = short.embed([Input("a")], "document", "find")
    np.testing.assert_allclose(cut, whole[:, :4] / np.linalg.norm(whole[:, :4]), atol=1e-6)
    assert short.card.dim == 4 and short.card.fingerprint != there.card.fingerprint


def test_inputs_without_a_type_are_queries(toys):
    def row(**more) -> list[float]:
        return ask(toys, "a", **more).json()["data"][0]["embedding"]

    assert row() == row(input_type="query") != row(input_type="document")


def test_the_server_cuts_vectors_to_unit_norm(toys):
    """Clients of others do not normalize what they get."""
    whole, cut = (
        np.array(ask(toys, "a", dimensions=dim).json()["data"][0]["embedding"]) for dim in (8, 4)
    )
    np.testing.assert_allclose(cut, whole[:4] / np.linalg.norm(whole[:4]), atol=1e-6)


def test_a_system_message_is_the_instruction(toys):
    def row(**body) -> list[float]:
        return post(toys, {"model": "toy", **body}, key=None).json()["data"][0]["embedding"]

    talk = [{"role": "system", "content": "find"}, {"role": "user", "content": "a"}]
    assert row(messages=talk) == row(input="a", instruction="find") != row(input="a")


# what is refused


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"input": [1, 2, 3]}, 400, "token ids"),
        ({"input": [[1, 2]]}, 400, "token ids"),
        ({"input": ""}, 400, "empty"),
        ({"input": ["a", 7]}, 400, "text"),
        ({"input": []}, 400, "list of texts"),
        ({}, 400, "list of texts"),
        ({"input": "a", "messages": []}, 400, "either"),
        ({"input": "a", "encoding_format": "int8"}, 400, "float, base64"),
        ({"input": "a", "input_type": "passage"}, 400, "query, document"),
        ({"input": "a", "dimensions": -1}, 400, "above 0"),
        ({"input": ["a"] * 41}, 413, "at most 40"),
        ({"input": "a" * 100_001}, 400, "at most 100000"),
        ({"input": "a" * 400_001}, 413, "400000 bytes"),
        ({"messages": "a"}, 400, "list of messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, 400, "one user message"),
        ({"messages": [{"role": "user", "content": []}]}, 400, "empty"),
        ({"messages": picture("http://169.254.169.254/key")}, 400, "nothing is fetched"),
        ({"messages": picture("file:///etc/passwd")}, 400, "nothing is fetched"),
        ({"messages": picture("data:image/png,abc")}, 400, "base64"),
        ({"messages": picture("data:image/png;base64,@@@")}, 400, "not base64"),
        ({"messages": picture(data_url(b"no picture"))}, 400, "cannot be read"),
        ({"messages": picture(data_url(png(noise(1))[:900]))}, 400, "cannot be read"),
        ({"messages": picture(data_url(png(Image.new("1", (9000, 9000)))))}, 400, "pixels"),
        ({"messages": picture(data_url(png(Image.new("1", (900, 900)))))}, 400, "900 x 900"),
    ],
)
def test_refusals_have_openais_format(served, body, status, message):
    answer = post(served, {"model": "starter", **body})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert message in error["message"] and error["type"] == "invalid_request_error"


def test_invalid_bodies_are_refused(served):
    headers = {"Authorization": f"Bearer {KEY}"}
    half = b'{"model": "starter", "input": "\\ud800"}'
    assert "surrogate" in httpx.post(f"{served}/embeddings", content=half, headers=headers).text
    for body in (b"", b"[1]", b"{", b"[" * 100_000, b"\xff\xfe"):
        answer = httpx.post(f"{served}/embeddings", content=body, headers=headers)
        assert answer.status_code == 400 and "JSON" in answer.json()["error"]["message"]
    assert httpx.get(f"{served}/embeddings", headers=headers).status_code == 405
    assert httpx.get(f"{served}/nothing").json()["error"]["message"]


def test_image_formats_give_the_same_vector(served):
    def row(data: bytes) -> np.ndarray:
        answer = post(served, {"model": "starter", "messages": picture(data_url(data))})
        return np.array(answer.json()["data"][0]["embedding"])

    look, clear = noise(4), noise(4).convert("RGBA")
    turned = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    look.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=exif)
    assert row(png(look)) @ row(png(clear)) > 0.9999
    assert row(png(look)) @ row(turned.getvalue()) > 0.9999
    deep = Image.fromarray(np.asarray(look.convert("L")).astype(np.uint16) * 257)
    assert row(png(deep)) @ row(png(look.convert("L"))) > 0.999
    few = noise(4, (680, 520)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert row(png(few)) @ row(png(few.convert("RGB"))) > 0.9999


def test_several_images_are_one_input(served, starter):
    images = [noise(1), noise(2)]
    (message,) = picture(data_url(png(images[0])))
    message["content"] += picture(data_url(png(images[1])))[0]["content"]
    answer = post(served, {"model": "starter", "messages": [message], "input_type": "document"})
    expected = starter.embed([Input(images=tuple(images))], "document")[0]
    np.testing.assert_allclose(answer.json()["data"][0]["embedding"], expected, atol=1e-5)


def test_a_model_of_one_image_refuses_several():
    service = Service(ServerLimits())
    service.start_model(ColorEmbedder(replace(COLORS, max_images=1)))
    (message,) = picture(data_url(png(noise(1))))
    body = {"model": "colors", "messages": [{**message, "content": message["content"] * 2}]}
    with TestClient(create_app(service)) as client:
        refused = client.post("/v1/embeddings", json=body)
        assert refused.status_code == 400
        assert "2 images in an input; colors takes at most 1" in refused.text
        answer = client.post("/v1/embeddings", json={**body, "messages": [message]})
        assert answer.status_code == 200
    service.close()


def test_a_text_model_refuses_images(toys):
    answer = post(toys, {"model": "toy", "messages": picture(data_url(png(noise(1))))}, key=None)
    assert answer.status_code == 400 and "not images" in answer.text


# the queue


def test_a_bad_text_fails_alone():
    with toy() as (url, _), ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, url, "sleep 1")
        time.sleep(0.2)  # the others gather
        texts = ["a", "bad", "b", "fault", "c"]
        answers = list(pool.map(lambda text: ask(url, text), texts))
        assert first.result().status_code == 200
        assert [answer.status_code for answer in answers] == [200, 400, 200, 500, 200]
        assert "this text is bad" in answers[1].text and "secret" not in answers[3].text
        assert counted(url)["polylens_batch_size_sum"] == 6
        assert counted(url)["polylens_batch_size_count"] <= 3


def test_a_full_queue_refuses_and_a_long_wait_times_out():
    with toy(queue=3, batch=1, seconds=0.6) as (url, _), ThreadPoolExecutor(8) as pool:
        busy = pool.submit(ask, url, "sleep 1.2")
        time.sleep(0.2)
        waiting = [pool.submit(ask, url, "a") for _ in range(2)]
        time.sleep(0.2)
        refused = ask(url, "b")
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        late = [call.result() for call in waiting]
        assert [answer.status_code for answer in late] == [503, 503]
        assert busy.result().status_code == 200
        seen = counted(url)
        assert seen['polylens_rejected_total{reason="queue"}'] == 1
        assert seen['polylens_rejected_total{reason="timeout"}'] == 2
        assert seen["polylens_batch_size_sum"] == 1 and seen["polylens_queue_inputs"] == 0


def test_a_disconnected_client_is_not_embedded():
    with toy(batch=1) as (url, _), ThreadPoolExecutor(2) as pool:
        busy = pool.submit(ask, url, "sleep 0.8")
        time.sleep(0.2)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/embeddings", json={"model": "toy", "input": ["a"] * 5}, timeout=0.2)
        assert busy.result().status_code == 200 and ask(url, "b").status_code == 200
        seen = counted(url)
        assert seen["polylens_batch_size_sum"] == 2
        assert seen['polylens_requests_total{code="499",kind="input"}'] == 1


def test_a_request_larger_than_a_batch(toys):
    texts = [f"text {n}" for n in range(100)]
    rows = [row["embedding"] for row in ask(toys, *texts).json()["data"]]
    alone = ask(toys, "text 77").json()["data"][0]["embedding"]
    assert len(rows) == 100 and np.allclose(rows[77], alone)


def test_two_threads_embed_at_once():
    """And each client still gets its own."""
    both = threading.Barrier(2, timeout=10)

    class Paired(EmbeddingModel):
        def embed(self, inputs, role, instruction=None):
            if inputs[0].text != "last":
                both.wait()
            return np.full((1, 8), ord(inputs[0].text[0]), np.float32)

    batcher = Batcher(Paired(), Metrics(), max_batch=1, max_concurrency=2)
    tickets = [batcher.submit([Input(text)], "query", None) for text in "abcd"]
    assert [ticket.future.result(10)[0][0, 0] for ticket in tickets] == [97, 98, 99, 100]
    last = batcher.submit([Input("last")], "query", None)
    batcher.close()
    assert last.future.result(10)[0].shape == (1, 8)


def test_a_batch_has_one_role_and_one_instruction():
    """What waits at the same time is embedded together only where both are equal."""
    calls, started, go_on = [], threading.Event(), threading.Event()

    class Held(EmbeddingModel):
        def embed(self, inputs, role, instruction=None):
            calls.append((role, instruction, [item.text for item in inputs]))
            started.set()
            go_on.wait(10)
            return np.ones((len(inputs), 8), np.float32)

    batcher = Batcher(Held(), Metrics())
    pending = [batcher.submit([Input("first")], "query", None)]
    assert started.wait(10)
    for text, role, instruction in (
        ("a", "query", None), ("b", "document", None), ("c", "query", "find"),
        ("d", "query", None), ("e", "document", None),
    ):  # fmt: skip
        pending.append(batcher.submit([Input(text)], role, instruction))
    go_on.set()
    for one in pending:
        one.future.result(10)
    batcher.close()
    assert calls == [
        ("query", None, ["first"]),
        ("query", None, ["a", "d"]),
        ("document", None, ["b", "e"]),
        ("query", "find", ["c"]),
    ]


def test_a_request_canceled_while_a_batch_gathers():
    class Slow(EmbeddingModel):
        def embed(self, inputs, role, instruction=None):
            time.sleep(0.5 * (len(inputs) > 1))
            return np.ones((len(inputs), 8), np.float32)

    batcher = Batcher(Slow(), Metrics())
    batcher.submit([Input("a"), Input("b")], "query", None).future.result(5)
    dropped = batcher.submit([Input("c")], "query", None)  # held back for a second one
    batcher.discard(dropped)
    time.sleep(0.1)
    assert batcher.submit([Input("d")], "query", None).future.result(5)[0].shape == (1, 8)
    batcher.close()


# the process


def test_health_needs_no_key_and_metrics_count(served):
    before = counted(served)
    assert post(served, {"model": "starter", "input": ["a", "b"]}).status_code == 200
    assert post(served, {"model": "starter", "input": "a"}, key=None).status_code == 401
    after = counted(served)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more('polylens_requests_total{code="200",kind="input"}') == 1
    assert more('polylens_inputs_total{kind="text"}') == 2
    for name in ("request", "queue", "model"):
        assert more(f"polylens_{name}_seconds_count") == 1
    assert more("polylens_batch_size_sum") == 2
    assert httpx.get(served.replace("/v1", "/healthz")).text == "ok\n" and state(served) == 200


def until(done, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_health_is_ok_before_the_model_is_ready():
    process = start("-c", LOADING.format(folder=str(TOY.parent)))
    url = f"{address(process)}/v1"
    try:
        until(lambda: answers(url))
        assert state(url) == 503
        refused = ask(url, "a")
        assert refused.status_code == 503 and "being loaded" in refused.text
        until(lambda: state(url) == 200)
        assert ask(url, "a").status_code == 200
    finally:
        assert end(process, signal.SIGINT) == -signal.SIGINT  # of KeyboardInterrupt


LOADING = """
import sys
sys.path.insert(0, {folder!r})
from toy_server import load, run, Service, ServerLimits
listener = run.open_listener("127.0.0.1", 0)
print("listens on", run.format_url(listener), file=sys.stderr, flush=True)
run.open_listener = lambda *_: listener
run.run_server(lambda: load(1.5), Service(ServerLimits()))
"""


def answers(url: str) -> bool:
    try:
        return httpx.get(url.replace("/v1", "/healthz")).status_code == 200
    except httpx.TransportError:
        return False


def test_sigterm_drains():
    with toy() as (url, process), ThreadPoolExecutor(2) as pool:
        busy = pool.submit(ask, url, "sleep 1")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        until(lambda: state(url) == 503)
        assert "shutting down" in ask(url, "a").text
        assert busy.result().status_code == 200
        assert process.wait(10) == 0


def statuses(answers) -> list[int]:
    """The status of each answer; 0 for a connection that was refused, or closed unused."""
    found = []
    for answer in answers:
        try:
            found.append(answer.result().status_code)
        except httpx.TransportError:
            found.append(0)
    return found


def test_sigterm_answers_all_that_wait():
    """Also those in the queue; who comes later is refused, and nobody gets a 500."""
    with toy(batch=1) as (url, process), ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(ask, url, f"sleep 0.1 {n}") for n in range(20)]
        until(lambda: counted(url).get('polylens_inputs_total{kind="text"}') == 20)
        process.send_signal(signal.SIGTERM)
        until(lambda: state(url) == 503)
        late = [pool.submit(ask, url, "late") for _ in range(20)]
        assert statuses(waiting) == [200] * 20
        assert set(statuses(late)) <= {503, 0}
        assert process.wait(10) == 0


def test_sigterm_refuses_what_takes_too_long():
    """What the model computes, what waits for it, and what is still being sent."""
    with toy(batch=1, drain=0.5) as (url, process), ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, url, f"sleep 60 {n}") for n in range(3)]
        host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
            until(lambda: counted(url)["polylens_queue_inputs"] == 2)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert statuses(waiting) == [503] * 3
            assert all(answer.result().headers["retry-after"] == "1" for answer in waiting)
            assert slow.recv(100).startswith(b"HTTP/1.1 503")
        assert process.wait(10) == 0
        assert time.monotonic() - began < 4


def test_a_second_signal_ends_it_at_once():
    with toy() as (url, process), ThreadPoolExecutor(1) as pool:
        busy = pool.submit(ask, url, "sleep 60")
        until(lambda: counted(url)["polylens_queue_seconds_count"] == 1)
        process.send_signal(signal.SIGTERM)
        until(lambda: state(url) == 503)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.wait(10)
        assert time.monotonic() - began < 2
        statuses([busy])


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]], ["a", [1]], [True], [[]]])
def test_token_ids_are_refused_with_a_hint(toys, ids):
    """LangChain sends those of OpenAI's tokenizer by default."""
    answer = post(toys, {"model": "toy", "input": ids}, key=None)
    assert answer.status_code == 400
    assert "check_embedding_ctx_length=False" in answer.text


def test_no_path_of_this_machine_is_told(tmp_path):
    """Of a folder the last part of its name; requests may use it."""

    class Local(Toy):
        card = replace(Toy.card, name=str(tmp_path / "mine"), source="runs/mine")

        def embed(self, inputs, role, instruction=None):
            if inputs[0].text == "no":
                raise EmbedderError(f"{self.card.name} does not take this")
            return super().embed(inputs, role, instruction)

    service = Service(ServerLimits())
    service.start_model(Local())
    with TestClient(create_app(service)) as client:
        listed = client.get("/v1/models")
        assert listed.json()["data"][0]["id"] == "mine"
        answers = [listed, client.get("/metrics")]
        for model, text in (("mine", "a"), ("mine", "no"), ("other", "a"), (Local.card.name, "a")):
            body = {"model": model, "input": text}
            answers.append(client.post("/v1/embeddings", json=body))
        assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 404, 404]
        for answer in answers[:-1]:
            assert str(tmp_path) not in answer.text
            assert "runs/" not in answer.text
    service.close()
    for name, public in {
        "starter": "starter", "intfloat/e5": "intfloat/e5", "/a/runs/first": "first",
        "vlm2vec:/a/model": "model", "http://gpu.internal:8000/v1#intfloat/e5": "intfloat/e5",
    }.items():  # fmt: skip
        assert make_public_name(name) == public


def serve_fails(*words: object) -> str:
    process = start("-m", "embedder", "serve", *words)
    output = process.stderr.read()
    assert process.wait(20) == 1
    return output


def test_a_used_port_and_a_missing_model_are_reported():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        output = serve_fails("--port", listener.getsockname()[1])
        assert "choose another with --port" in output and output.count("\n") == 1
    assert "no model or folder is called 'nope'" in serve_fails("--model", "nope", "--port", 0)


def test_ctrl_c_and_the_warning_without_a_key():
    process = start("-m", "embedder", "serve", "--host", "0.0.0.0", "--port", 0)
    assert "--api-key" in process.stderr.readline()
    address(process)
    assert end(process, signal.SIGINT) == 130
