"""Points per second from store to store, to a file and back: `python -m bench.transfer`.

Synthetic images with captions: each point has two vectors of 384 dimensions, a sparse vector and a
payload of half a kilobyte. The comparison at the end is timed too. The server is the stand-in of
the tests (qdrant-client's engine, in Python), which is slower than a real one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

import embedder
from bench.report import publish, render_table
from embedder import Settings
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import BM25, IMAGE, TEXT
from indexer.config import Config, load_config
from indexer.transfer.migrate import migrate
from indexer.transfer.restore import restore
from indexer.transfer.snapshot import snapshot
from indexer.types import Record, SparseVector

BATCH = 1000
STAND_IN = Path(__file__).parent.parent / "tests" / "servers" / "qdrant.py"


def make_records(start: int, count: int, dim: int) -> list[Record]:
    random = np.random.default_rng(start)
    rows = random.standard_normal((count, 2, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    return [_make_record(start + i, image, text) for i, (image, text) in enumerate(rows)]


def _make_record(number: int, image: np.ndarray, text: np.ndarray) -> Record:
    folder, name = f"/pictures/{number // 1000:04}", f"{number:07}.jpg"
    words = SparseVector(tuple(range(number % 999, number % 999 + 12)), (1.5,) * 12)
    payload = {
        "kind": "image", "format": "jpeg", "bytes": 123456, "width": 4000, "height": 3000,
        "content": uuid.UUID(int=number).hex * 2, "paths": [f"{folder}/{name}"], "name": name,
        "folder": [folder], "languages": ["en"], "tags": ["holiday", "2026"], "year": 2026,
        "captions": [{"text": "a red bicycle at the harbor", "language": "en", "source": "x"}],
    }  # fmt: skip
    return Record(str(uuid.uuid4()), {IMAGE: image, TEXT: text, BM25: words}, payload)


def fill_collection(config: Config, count: int) -> None:
    card = embedder.describe_model("starter", Settings())
    with OpenCollection.open_or_create(config, card) as collection:
        for start in range(0, count, BATCH):
            collection.store.upsert(make_records(start, min(BATCH, count - start), card.dim))
        collection.store.flush()


@contextmanager
def start_stand_in() -> Iterator[dict[str, object]]:
    """A process with the tests' stand-in for a Qdrant server: its url and its gRPC port."""
    words = [sys.executable, str(STAND_IN), "--port", "0", "--grpc-port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def measure(what: str, count: int, run: Callable[[], object]) -> tuple[str, str, str]:
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    print(f"{what}: {count / seconds:,.0f} points/s", flush=True)
    return what, f"{seconds:.1f}", f"{count / seconds:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    count = options.count
    with (
        tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch,
        start_stand_in() as server,
    ):
        os.environ["XDG_DATA_HOME"] = scratch  # what is kept here of the server
        folder = load_config({"store": f"{scratch}/a"})
        fill_collection(folder, count)
        other, third = (replace(folder, store=f"{scratch}/{name}") for name in ("b", "c"))
        rest = replace(folder, store=server["url"], collection="rest")
        grpc = replace(rest, collection="grpc", qdrant_grpc_port=server["grpc_port"])
        back, file = replace(folder, collection="back"), Path(scratch) / "all.tar"
        rows = [
            measure("folder to folder", count, lambda: migrate(folder, other)),
            measure("folder to stand-in server, REST", count, lambda: migrate(folder, rest)),
            measure("folder to stand-in server, gRPC", count, lambda: migrate(folder, grpc)),
            measure("stand-in server to folder, REST", count, lambda: migrate(rest, back)),
            measure("snapshot of a folder", count, lambda: snapshot(folder, file)),
            measure("restore to a folder", count, lambda: restore(file, third)),
        ]
        size = f"{file.stat().st_size / count:,.0f} bytes a point in the file"
    body = render_table(("", "seconds", "points/s"), rows) + f"\n\n{count:,} points, {size}."
    publish("Transfer", body, write=options.write)


if __name__ == "__main__":
    main()
