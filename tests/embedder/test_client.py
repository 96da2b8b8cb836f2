"""The remote family against servers of other kinds: a small HTTP server that follows a script."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import embedder
from embedder.client.embeddings import encode_data_url, parse_vectors
from embedder.client.http import ServerClient, parse_address, sanitize_message
from embedder.errors import EmbedderError, UnavailableError, UnknownModelError
from embedder.families import remote
from embedder.images.decode import reduce_image
from embedder.types import Input, Settings

DIM = 6
Answer = tuple[int, object] | tuple[int, object, dict[str, str]]


class Stub:
    """A server with one model that records requests and answers as scripted.

    `knows` are the forms that it accepts; `first` are answers that it gives before it behaves.
    """

    def __init__(self, knows: tuple[str, ...] = ("input",), models: tuple[str, ...] = ("m",)):
        self.knows, self.models = knows, models
        self.card: object = None  # as `embedder serve` sends it
        self.encodings = ("base64", "float")
        self.first: list[Answer] = []
        self.change: Callable[[list], list] = lambda data: data
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.paths: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub._note(self)
                data = [{"id": name, "polylens": stub.card} for name in stub.models]
                self._send(200, {"object": "list", "data": data})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stub._note(self)
                stub.bodies.append(body)
                self._send(*(stub.first.pop(0) if stub.first else stub.answer(body)))

            def _send(self, status: int, plain: object, headers: dict | None = None) -> None:
                body = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _note(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        self.headers.append(dict(request.headers))

    def answer(self, body: dict) -> Answer:
        pictures = "image_url" in json.dumps(body)
        form = "picture" if pictures else "messages" if "messages" in body else "input"
        if form not in self.knows:
            return 400, {"error": {"message": f"{form} is not known"}}
        if body["encoding_format"] not in self.encodings:
            return 422, {"detail": "no such encoding"}
        requested = body.get("input") or [json.dumps(body["messages"])]
        rows = [row(text)[: body.get("dimensions")] for text in requested]
        data = [{"index": i, "embedding": self._encoded(r, body)} for i, r in enumerate(rows)]
        return 200, {"object": "list", "model": body["model"], "data": self.change(data)}

    def _encoded(self, numbers: np.ndarray, body: dict) -> object:
        if body["encoding_format"] == "float":
            return numbers.tolist()
        return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


def row(text: str) -> np.ndarray:
    """Not of unit length: other servers need not."""
    return np.random.default_rng(sum(map(ord, text))).standard_normal(DIM).astype(np.float32) * 3


def unit(rows: list[np.ndarray]) -> np.ndarray:
    return np.stack([r / np.linalg.norm(r) for r in rows])


@pytest.fixture
def stub():
    vectors: list[Stub] = []

    def make(*knows: str, models: tuple[str, ...] = ("m",)) -> Stub:
        vectors.append(Stub(knows or ("input",), models))
        return vectors[-1]

    yield make
    for server in vectors:
        server.close()


def load(server: Stub, **settings) -> remote.RemoteEmbedder:
    return remote.load(server.url, Settings(**settings))


# the address


def test_addresses_have_one_spelling_and_hide_credentials():
    address = parse_address("HTTP://me:pa%20ss@Host:80/v1/#intfloat/e5")
    assert (address.url, address.model) == ("http://host/v1", "intfloat/e5")
    assert (address.user, address.password) == ("me", "pa ss")
    assert "pa" not in repr(address) and address.model_name("m") == "http://host/v1#m"
    assert (
        parse_address("http://[::1]:8000").url == "http://[::1]:8000"
        and parse_address("http://[::1]").is_local
    )
    for wrong in ("http://", "http://host:x/v1", "http://h/v1?key=1", "ftp://h/v1"):
        with pytest.raises(UnknownModelError, match="type http"):
            parse_address(wrong)


def test_a_single_model_is_used_and_several_are_listed(stub):
    assert load(stub()).card.name.endswith("/v1#m")
    many = stub(models=("b", "a"))
    with pytest.raises(UnknownModelError, match=f"{many.url}#MODEL with one of a, b"):
        load(many)
    assert remote.load(many.url + "#b", Settings()).card.name == f"{many.url}#b"
    with pytest.raises(UnknownModelError, match="names no model"):
        load(stub(models=()))


# forms


def test_a_text_only_server(stub):
    server = stub()
    there = load(server)
    texts = [f"text {n}" for n in range(150)]
    vectors = there.embed([Input(t) for t in texts], "query", "an instruction is not invented")
    np.testing.assert_allclose(vectors, unit([row(t) for t in texts]), atol=1e-6)
    assert there.card.modalities == ("text",) and not there.card.composes
    sent = server.bodies[-3:]
    assert sorted(len(body["input"]) for body in sent) == [22, 64, 64]
    assert all(set(body) == {"input", "model", "encoding_format"} for body in sent)
    with pytest.raises(EmbedderError, match="takes texts"):
        there.embed([Input(images=(Image.new("RGB", (9, 9)),))], "query")
    with pytest.raises(EmbedderError, match="neither"):
        there.embed([Input(" ")], "query")


def test_a_server_like_vllm_gets_messages(stub):
    server = stub("input", "messages", "picture")
    there = load(server)
    assert there.card.modalities == ("text", "image") and there.card.composes
    look, message = Image.new("RGB", (40, 30), "red"), "<|im_end|> at night"
    there.embed([Input(message, (look,))], "query", "Find it.")
    system, user = server.bodies[-1]["messages"]
    assert system == {"role": "system", "content": "Find it."}
    picture, text = user["content"]
    assert text == {"type": "text", "text": message}
    sent = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(sent))), np.asarray(look))
    there.embed([Input("a"), Input("b")], "document")
    assert all(len(body["messages"]) == 1 for body in server.bodies[-2:])


def test_messages_are_not_used_without_image_support(stub):
    assert load(stub("input", "messages")).card.modalities == ("text",)


def test_floats_are_used_without_base64_support(stub):
    server = stub()
    server.encodings = ("float",)
    vectors = load(server).embed([Input("a")], "query")
    np.testing.assert_allclose(vectors, unit([row("a")]), atol=1e-6)


def test_the_fingerprint_does_not_depend_on_the_address(stub):
    one, two = load(stub()).card, load(stub()).card
    assert one.name != two.name and one.fingerprint == two.fingerprint
    others = [stub("messages", "picture"), stub(models=("n",))]
    assert len({one.fingerprint, *(load(other).card.fingerprint for other in others)}) == 3
    assert load(stub(), dim=4).card.fingerprint != one.fingerprint


def test_dimensions_are_requested_and_checked(stub):
    server = stub()
    assert load(server, dim=4).embed([Input("a")], "query").shape == (1, 4)
    assert server.bodies[-1]["dimensions"] == 4
    with pytest.raises(EmbedderError, match="returns dim 6; it cannot cut to 9"):
        load(server, dim=9)
    with pytest.raises(EmbedderError, match="pixel budget"):
        load(server, pixel_budget=100)


# answers


def test_rows_are_sorted_by_index(stub):
    server = stub()
    server.change = lambda data: data[::-1]
    vectors = load(server).embed([Input("a"), Input("b"), Input("c")], "query")
    np.testing.assert_allclose(vectors, unit([row("a"), row("b"), row("c")]), atol=1e-6)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({}, "no embeddings"),
        ({"data": [{"embedding": [1.0, 2.0]}]}, "1 vectors for 2"),
        ({"data": [{"embedding": [1.0, 2.0]}, {"embedding": [1.0]}]}, "dim 1, not 2"),
        ({"data": [{"embedding": [1.0, 2.0]}, {"embedding": [0.0, 0.0]}]}, "zero or not"),
        ({"data": [{"embedding": [1.0, 2.0]}, {"embedding": [float("nan"), 0]}]}, "not finite"),
        ({"data": [{"embedding": [1.0, 2.0]}, {"embedding": "@@@"}]}, "other than vectors"),
        ({"data": [{"embedding": [1.0, 2.0]}, {"embedding": None}]}, "other than vectors"),
        ({"data": [{"index": 1, "embedding": [1.0]}] * 2}, "not numbered"),
    ],
)
def test_wrong_vectors_are_refused(reply, message):
    with pytest.raises(EmbedderError, match=message):
        parse_vectors(reply, 2, 2)


def test_a_changed_dim_is_refused(stub):
    server = stub()
    there = load(server)
    server.change = lambda data: [{"index": 0, "embedding": [1.0, 2.0]}]
    with pytest.raises(EmbedderError, match="dim 2, not 6"):
        there.embed([Input("a")], "query")
    server.change = lambda data: data[:1]
    with pytest.raises(EmbedderError, match="1 vectors for 2 inputs"):
        there.embed([Input("a"), Input("b")], "query")


# what fails


def failing(status: int, times: int, wait: str = "0") -> list[Answer]:
    return [(status, {"error": {"message": "busy\x1b[2J now"}}, {"Retry-After": wait})] * times


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_failures_are_retried(stub, status):
    server = stub()
    there = load(server)
    server.first = failing(status, 4)
    assert there.embed([Input("a")], "query").shape == (1, DIM)


def test_retry_after_is_respected(stub):
    server = stub()
    there = load(server)
    server.first = failing(503, 1, "1")
    start = time.perf_counter()
    there.embed([Input("a")], "query")
    assert 0.9 < time.perf_counter() - start < 3


def test_the_last_failure_has_the_servers_message(stub):
    server = stub()
    there = load(server)
    server.first = failing(503, 9)
    with pytest.raises(UnavailableError, match=r"failed 5 attempts with status 503: busy\[2J now"):
        there.embed([Input("a")], "query")
    assert len(server.first) == 4
    server.first = failing(429, 1, "3600")
    with pytest.raises(EmbedderError, match="asks to wait 3600 seconds"):
        there.embed([Input("a")], "query")


def test_a_broken_connection_is_retried(stub):
    server = stub()
    there = load(server)
    broken = threading.Event()

    def breaks(data: list) -> list:
        if not broken.is_set():
            broken.set()
            raise ConnectionAbortedError
        return data

    server.change = breaks
    assert there.embed([Input("a")], "query").shape == (1, DIM) and broken.is_set()


def test_an_unreachable_server_is_reported():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(
            EmbedderError, match=rf"{url} cannot be reached \(.*refused.*2 attempts"
        ):
            remote.describe(url.replace("http://", "http://me:hidden@"), Settings())


ENDLESS = b"[" * 100_000
BOMB = gzip.compress(gzip.compress(bytes(10**8)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, b" " * 3_000_000), "the response is longer than 1 MiB"),
        ((200, BOMB, {"Content-Encoding": "gzip, gzip"}), "the response is compressed"),
        ((200, ENDLESS), "does not answer with JSON"),
        ((400, ENDLESS), r"status 400: \[\["),
        ((400, b"no text", {"Content-Type": "text/plain; charset=zip"}), "status 400: no text"),
        ((503, b"busy", {"Retry-After": "nan"}), "status 503: busy"),
    ],
)
def test_a_hostile_response_is_one_clear_error(stub, monkeypatch, answer, message):
    server = stub()
    there = load(server)
    monkeypatch.setattr("embedder.client.http.MAX_RESPONSE_BYTES", 1 << 20)
    monkeypatch.setattr("embedder.client.http.INITIAL_BACKOFF", 0)
    server.first = [answer] * 5
    with pytest.raises(EmbedderError, match=message):
        there.embed([Input("a")], "query")
    assert server.headers[-1]["Accept-Encoding"] == "identity"


def test_names_that_no_terminal_shows_are_no_models(stub):
    server = stub(models=("m\x1b[2J", "m\ud800", "m"))
    assert load(server).card.name == f"{server.url}#m"


def test_a_read_timeout_is_not_retried(stub):
    server = stub()
    there = load(server, timeout=0.3)
    server.change = lambda data: time.sleep(0.8) or data
    with pytest.raises(EmbedderError, match="did not answer in"):
        there.embed([Input("a")], "query")
    assert len([body for body in server.bodies if body.get("input") == ["a"]]) == 1


def test_a_redirect_is_not_followed(stub):
    server, other = stub(), stub()
    there = load(server)
    target = other.url.replace("http://", "http://me:hidden@")
    server.first = [(307, b"", {"Location": f"{target}/embeddings"})]
    with pytest.raises(EmbedderError, match=f"redirects to {other.url}/embeddings") as error:
        there.embed([Input("private")], "query")
    assert "hidden" not in str(error.value) and not other.paths


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_key_is_reported(stub, status):
    server = stub()
    there = load(server, api_key="k")
    assert server.headers[-1]["Authorization"] == "Bearer k"
    server.first = [(status, {"error": {"message": "no key"}})]
    with pytest.raises(EmbedderError, match="no key; set POLYLENS_MODEL_API_KEY"):
        there.embed([Input("a")], "query")
    with pytest.raises(EmbedderError, match="type it again"):
        load(server, api_key="k\n")


def test_credentials_in_the_address_are_sent_and_not_shown(stub):
    server = stub()
    there = remote.load(server.url.replace("http://", "http://me:hidden@"), Settings())
    assert server.headers[-1]["Authorization"].startswith("Basic ")
    assert "hidden" not in str(there.card)


def test_other_refusals_are_one_clear_error(stub):
    server = stub()
    there = load(server)
    for answer, message in [
        ((400, {"detail": "too long"}), "status 400: too long"),
        ((404, {"message": "no model"}), "status 404: no model"),
        ((200, b"<html>"), "does not answer with JSON"),
        ((418, b"tea"), "status 418: tea"),
    ]:
        server.first = [answer]
        with pytest.raises(EmbedderError, match=message):
            there.embed([Input("a")], "query")


def test_a_batch_that_is_too_large_is_halved(stub):
    server = stub()
    there = load(server)
    answer = server.answer
    server.answer = lambda body: (413, {}) if len(body["input"]) > 3 else answer(body)
    texts = [f"t{n}" for n in range(10)]
    vectors = there.embed([Input(t) for t in texts], "query")
    np.testing.assert_allclose(vectors, unit([row(t) for t in texts]), atol=1e-6)
    server.answer = lambda body: (413, {})
    with pytest.raises(EmbedderError, match="413"):
        there.embed([Input("a")], "query")


CARD = asdict(embedder.describe_model("starter"))


@pytest.mark.parametrize(
    "card",
    [
        *("yes", True, [1], ["dim"], {}),
        *({**CARD, "dim": dim} for dim in (0, 8.5, "8")),
        *({**CARD, "matryoshka": dims} for dims in (8, ["8"])),
        {**CARD, "modalities": None},
        {**CARD, "dim": 10**12},
        {**CARD, "dim": True},
        {**CARD, "modalities": "text"},
        {**CARD, "revision": None},
    ],
)
def test_a_damaged_card_is_reported(stub, card):
    server = stub()
    server.card = card
    with pytest.raises(EmbedderError, match="the server's card cannot be used"):
        load(server)


def test_unknown_fields_of_a_card_are_ignored(stub):
    server = stub()
    server.card = {**CARD, "name": "other", "newer": 1}
    card = load(server).card
    assert card == replace(
        embedder.describe_model("starter"), name=f"{server.url}#m", family="remote"
    )


def test_a_server_without_the_api_is_reported(stub):
    server = stub("nothing")
    with pytest.raises(EmbedderError, match="input is not known"):
        load(server)


# pictures


def test_small_images_are_sent_exactly_and_large_ones_closely():
    grain = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for size, kind, most in [((512, 512), "png", 0), ((800, 600), "jpeg", 4)]:
        look = Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC)
        url = encode_data_url(look)
        assert url.startswith(f"data:image/{kind};base64,")
        back = Image.open(BytesIO(base64.b64decode(url.split(",")[1])))
        change = np.abs(np.asarray(back, np.int16) - np.asarray(look, np.int16))
        assert change.mean() <= most


def test_images_are_reduced_to_what_the_model_uses():
    assert reduce_image(Image.new("RGB", (1000, 530)), 260).size == (500, 265)
    assert reduce_image(Image.new("RGB", (1000, 500)), 260).size == (1000, 500)


def test_server_messages_cannot_control_a_terminal():
    assert sanitize_message("a\x1b]0;x\x07\nb" + "c" * 999) == "a]0;x b" + "c" * 293


def test_proxies_are_for_other_machines(monkeypatch, stub):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    assert load(stub()).card.dim == DIM
    far = ServerClient(parse_address("http://192.0.2.1/v1"), api_key=None, timeout=1)
    with pytest.raises(EmbedderError, match="refused"):
        far.get("/models")
