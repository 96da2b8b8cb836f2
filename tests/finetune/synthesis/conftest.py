"""A scripted chat endpoint in this process, and a small collection."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from finetune.synthesis.images import CollectionImages
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest

WORDS = {  # a text in the language that is asked for; the number makes it unlike others
    "English": "a red tram {} climbs the hill with nobody inside",
    "German": "eine rote Straßenbahn {} fährt leer den Hügel hinauf",
    "Japanese": "赤い路面電車{}が坂をのぼっている",
}


@dataclass(frozen=True)
class Answer:
    """An answer to a request: `text` in a completion, or a raw `body`."""

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    finish: str = "stop"
    refusal: str | None = None
    wait: float = 0.0  # seconds


@dataclass
class Seen:
    """A request: its JSON, headers and time."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float

    @property
    def parts(self) -> list[dict[str, Any]]:
        return self.body["messages"][1]["content"]

    @property
    def text(self) -> str:
        return self.parts[-1]["text"]

    @property
    def language(self) -> str:
        return re.search(r"is in (\w+), as somebody", self.text)[1]

    @property
    def names(self) -> list[str]:
        """The texts of the sample, read from the sketch in the prompt."""
        sketch = re.search(r'"revised": \{(.*?)\}', self.text, re.DOTALL)[1]
        return re.findall(r'"(\w+)"', sketch)

    @property
    def pictures(self) -> list[Image.Image]:
        urls = [p["image_url"]["url"] for p in self.parts if p["type"] == "image_url"]
        return [Image.open(BytesIO(base64.b64decode(url.split(",", 1)[1]))) for url in urls]


def sample(seen: Seen, number: int, **changes: str) -> dict[str, str]:
    """A revised sample as a good model would write it."""
    words = WORDS[seen.language]
    texts = {name: words.format(f"{number}-{place}") for place, name in enumerate(seen.names)}
    texts["instruction"] = f"Find what fits the picture {'abcdefghij'[number % 10]}."
    return {name: text for name, text in {**texts, **changes}.items() if name in seen.names}


def whole(seen: Seen, number: int, **changes: str) -> dict[str, Any]:
    """A complete answer; the draft differs from the revised sample."""
    four = ("general", "objects", "context", "brainstorm")
    five = ("relevance", "hard_negative", "clarity", "diversity", "improvements")
    return {
        "interpretation": dict.fromkeys(four, "a tram on a hill"),
        "draft": dict.fromkeys(seen.names, "DRAFT"),
        "evaluation": dict.fromkeys(five, "good"),
        "revised": sample(seen, number, **changes),
        "usable": True,
    }


def completion(answer: Answer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    return {
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
        "usage": {"prompt_tokens": 2000, "completion_tokens": 500},
    }


def failed(status: int, message: str = "no", **headers: str) -> Answer:
    return Answer(
        status=status,
        body=json.dumps({"error": {"message": message}}),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


class Chat:
    """`answer(seen, number)` returns the answer to the request of that number (from 0)."""

    Answer = Answer
    failed = staticmethod(failed)
    whole = staticmethod(whole)

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answer: Callable[[Seen, int], Answer] = self.good
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @staticmethod
    def good(seen: Seen, number: int) -> Answer:
        return Answer(json.dumps(whole(seen, number), ensure_ascii=False))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
            number = len(self.seen) - 1
        return self.answer(seen, number)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(length))
                assert self.path == "/v1/chat/completions"
                found = chat._take(Seen(body, dict(self.headers), time.monotonic()))
                time.sleep(found.wait)
                plain = found.body if found.body is not None else json.dumps(completion(found))
                data = plain.encode()
                self.send_response(found.status)
                for name, value in {**found.headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        return Handler


@pytest.fixture
def chat() -> Iterator[Chat]:
    server = Chat()
    yield server
    server.close()


@pytest.fixture(scope="session")
def kept() -> Iterator[list[OpenCollection]]:
    """Keeps the collection open for the session."""
    opened: list[OpenCollection] = []
    yield opened
    for collection in opened:
        collection.close()


@pytest.fixture
def collection(kept, colors, photo, tmp_path_factory) -> OpenCollection:
    """Eight images of noise, and a copy with one pixel changed; tests only read it."""
    if not kept:
        folder = tmp_path_factory.mktemp("synthesis")
        for number in range(8):
            photo(folder / "pictures" / f"{number}.png", number)
        twin = Image.open(folder / "pictures" / "0.png")
        twin.putpixel((0, 0), (1, 2, 3))
        twin.save(folder / "pictures" / "twin.png")
        config = load_config({"store": str(folder / "store")})
        kept.append(OpenCollection.open_or_create(config, colors.card))
        ingest([folder / "pictures"], kept[0], colors)
    return kept[0]


@pytest.fixture
def gallery(collection) -> CollectionImages:
    return CollectionImages.from_store(collection.store, collection.name)
