"""Points to a Qdrant server, over REST and over gRPC: `python -m bench.upload [--count 5000]`.

The server is the one that QDRANT_URL names, or a stand-in over qdrant-client's local engine in a
process of its own; it takes as long over each point whichever way it comes, so that with it points
a second are mostly the engine's, and the CPU time, which is this process's alone, is what compares.
Beside ours, `upload_points` of qdrant-client. All ways take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

import numpy as np
from qdrant_client import models

from bench.report import publish, render_table
from bench.transfer import start_stand_in
from indexer.collections import open_backend
from indexer.collections.schema import BM25, IMAGE, make_schema
from indexer.config import load_config
from indexer.stores.qdrant.client import Connection
from indexer.stores.qdrant.server import Server
from indexer.stores.qdrant.store import QdrantStore
from indexer.stores.upload import upload
from indexer.types import Record, SparseVector

NAME = "polylens-bench-upload"
BATCH = 256

UploadMethod = Callable[[Server, QdrantStore, Sequence[Record]], None]


@contextmanager
def start_server() -> Iterator[Connection]:
    """The user's server, or the stand-in for as long as it is needed."""
    config = load_config()
    if open_backend(config).is_shared:
        port = config.qdrant_grpc_port or 6334
        yield Connection(config.store, config.store_api_key, port, config.qdrant_ca)
        return
    with start_stand_in() as server:
        yield Connection(server["url"], grpc_port=server["grpc_port"])


def make_records(count: int, dim: int) -> list[Record]:
    """As an ingest makes them: an image's vector, the words of its caption, a payload."""
    rows = np.random.default_rng(dim).standard_normal((count, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        Record(
            str(UUID(int=number + 1)),
            {IMAGE: row, BM25: SparseVector(tuple(range(number, number + 8)), (1.0,) * 8)},
            {
                "kind": "image",
                "format": "jpeg",
                "paths": [f"/pictures/{number // 1000:04d}/{number:07d}.jpg"],
                "folder": ["/", "/pictures"],
                "tags": ["pet", "snow"],
                "captions": [{"text": "a cat in the snow", "language": "en", "source": "sidecar"}],
                "year": 2020,
                "width": 4000,
                "height": 3000,
            },
        )
        for number, row in enumerate(rows)
    ]


def upload_ours(server: Server, store: QdrantStore, points: Sequence[Record]) -> None:
    batches = (points[start : start + BATCH] for start in range(0, len(points), BATCH))
    for _ in upload(store, batches, server.connection.upload_concurrency):
        pass


def upload_client(server: Server, _: QdrantStore, points: Sequence[Record]) -> None:
    def send(client) -> None:
        structs = (
            models.PointStruct(
                id=point.id,
                vector={
                    IMAGE: point.vectors[IMAGE],
                    BM25: models.SparseVector(
                        indices=list(point.vectors[BM25].indices),
                        values=list(point.vectors[BM25].values),
                    ),
                },
                payload=point.payload,
            )
            for point in points
        )
        client.upload_points(NAME, structs, batch_size=BATCH, wait=True)

    server.call(send)


METHODS: dict[str, tuple[bool, UploadMethod]] = {
    "REST": (False, upload_ours),
    "gRPC": (True, upload_ours),
    "REST, upload_points": (False, upload_client),
    "gRPC, upload_points": (True, upload_client),
}


def measure(server: Server, way: UploadMethod, points: Sequence[Record]) -> tuple[float, float]:
    """Points a second, and µs of this process's CPU time a point."""
    store = QdrantStore(server, NAME)
    store.ensure(make_schema(len(points[0].vectors[IMAGE])))
    start, cpu = time.perf_counter(), time.process_time()
    way(server, store, points)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    found = store.count()
    server.call(lambda client: client.delete_collection(NAME))
    if found != len(points):
        raise SystemExit(f"{found} of {len(points)} points have arrived")
    return len(points) / took, 1e6 * cpu / len(points)


def measure_all(
    connection: Connection, dims: Sequence[int], count: int, runs: int
) -> Iterator[list[str]]:
    rest = Server(replace(connection, grpc_port=None))
    grpc = Server(connection)
    for dim in dims:
        points = make_records(count, dim)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
        for turn in range(runs + 1):  # the first to warm up
            for name, (over_grpc, way) in METHODS.items():
                one = measure(grpc if over_grpc else rest, way, points)
                found[name] += [one] if turn else []
        for name, figures in found.items():
            speed, cpu = (statistics.median(each) for each in zip(*figures, strict=True))
            yield [str(dim), name, f"{speed:,.0f}", f"{cpu:.0f}"]
    rest.close()
    grpc.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[384, 1024])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    with start_server() as connection:
        found = list(measure_all(connection, options.dims, options.count, options.runs))
    streams = Connection("").upload_concurrency
    note = (
        f"{options.count:,} points, each with a vector, a caption's words and a payload, in "
        f"batches of {BATCH}; ours in\n{streams} streams, `upload_points` of qdrant-client in one. "
        f"{_describe_server()}"
    )
    head = ["dim", "way", "points/s", "client's CPU, µs a point"]
    body = f"{note}\n\n{render_table(head, found)}"
    publish("Upload to a server", body, write=options.write)


def _describe_server() -> str:
    if open_backend(load_config()).is_shared:
        return "The server was a Qdrant server."
    return (
        "No Qdrant server was available:\nthe server was the stand-in of the tests, over "
        "qdrant-client's local engine, in a process of its own,\nso it is the client's cost that "
        "is measured; the points a second are a slow engine's."
    )


if __name__ == "__main__":
    main()
