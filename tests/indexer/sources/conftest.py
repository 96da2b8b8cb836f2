"""A bucket, a web server, and ingests into a collection in memory."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import make_schema
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions
from indexer.stores.base import Layout
from tests.memory_store import open_memory_store


def make_image_bytes(look: int | str = 0, form: str = "PNG", size=(24, 16)) -> bytes:
    """A small image's bytes: noise from a seed, or one color."""
    if isinstance(look, int):
        noise = np.random.default_rng(look).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize(size)
    else:
        image = Image.new("RGB", size, look)
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def tar(members: dict[str, bytes], mtime: float = 1_700_000_000) -> bytes:
    """The bytes of an archive of `members`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def collection(config, colors) -> Iterator[OpenCollection]:
    """Its points are in memory: what is tested here is what comes before."""
    place = open_backend(config)
    index = place.create(config.collection, colors.card, Layout())
    store = open_memory_store(make_schema(colors.card.dim))
    with OpenCollection(config, place, index, store) as opened:
        yield opened


@pytest.fixture
def run(collection, colors) -> Callable[..., dict[str, object]]:
    """`run(source, ...)` ingests and gives the report's counts that are not zero; the names and
    reasons of what was skipped; `run.report` is the report."""

    def call(*sources, **options):
        colors.calls.clear()
        report = ingest(sources, collection, colors, IngestOptions(batch_size=4, **options))
        names = ("added", "updated", "unchanged", "moved", "removed")
        counts = {name: getattr(report, name) for name in names if getattr(report, name)}
        call.report = report
        skipped = sorted((skip.path.rpartition("/")[2], skip.reason) for skip in report.skipped)
        return counts | ({"skipped": skipped} if skipped else {})

    return call


@pytest.fixture
def stored(collection) -> Callable[[], dict[str, dict]]:
    """`stored()`: name -> payload of every point."""

    def call() -> dict[str, dict]:
        records, _ = collection.store.scroll(limit=1000)
        return {record.payload["name"]: record.payload for record in records}

    return call


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Bucket:
    """An S3 bucket, and the requests that have been made of its objects."""

    def __init__(self, client, name: str) -> None:
        self.client, self.name, self.url = client, name, f"s3://{name}"

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)


@pytest.fixture
def bucket(s3_server, monkeypatch, request) -> Bucket:
    """An empty bucket; the environment leads to it, as a user's would."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3")
    name = f"b{abs(hash(request.node.name)) % 10**9}"
    client.create_bucket(Bucket=name)
    return Bucket(client, name)


class Site:
    """A web server: path -> bytes, a status, or a redirect. `requests` has the paths asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | int | str] = {}
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.ranges = True
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append(self.path)
                site.headers.append(dict(self.headers))
                page = site.pages.get(self.path, site.pages.get(self.path.partition("?")[0], 404))
                if isinstance(page, str):
                    return self.answer(302, b"", Location=page)
                if isinstance(page, int):
                    return self.answer(page, b"")
                wanted = self.headers.get("Range", "")
                if wanted and site.ranges:
                    first, _, last = wanted.removeprefix("bytes=").partition("-")
                    piece = page[int(first) : int(last) + 1 if last else None]
                    content_range = f"bytes {first}-{int(first) + len(piece) - 1}/{len(page)}"
                    return self.answer(206, piece, **{"Content-Range": content_range, "ETag": "1"})
                return self.answer(200, page)

            def answer(self, status: int, body: bytes, **fields: str) -> None:
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def other_site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def make_image() -> Callable[..., bytes]:
    return make_image_bytes


@pytest.fixture
def make_tar() -> Callable[..., bytes]:
    return tar


@pytest.fixture
def memory():
    """fsspec's file system in memory, empty: `memory.pipe(path, bytes)`."""
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"
