"""A query from its words to its hits: `python -m bench.search [--sizes 10000 100000 1000000]`.

Synthetic vectors stand around what the starter makes of some words, as pictures of those things
would; queries are other words. Time is end to end in a warm process (the text is embedded, the
shard server asked over its socket, scores calibrated, hits read); recall@10 is against exact numpy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np

import embedder
from bench.report import publish, render_table
from embedder import Embedder, Input, Vectors
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import IMAGE
from indexer.config import load_config
from indexer.search.searcher import Searcher
from indexer.types import Part, Query, Record

WORDS = """
dog cat horse cow bird fish snake bee tree flower mushroom apple bread coffee cake house bridge
castle church tower mountain beach river forest desert car bicycle bus train ship airplane guitar
piano violin hammer chair lamp shoe hat umbrella clock book camera telephone sun moon
"""
THINGS = WORDS.split()
PHRASES = ("a photo of a {}", "ein Bild: {}", "{} at night", "two {}s", "une image de {}", "{} ?")
SPREAD = 0.9  # noise against a centre of norm 1: neighbors at a cosine of about 0.75
BATCH = 1000


def make_vectors(centres: Vectors, count: int, seed: int) -> Vectors:
    """(count, dim) unit rows, each around one of `centres`.

    The noise has the falling spectrum of real embeddings, in axes of its own: with the same noise
    in all 384 directions every neighbor would be equally far.
    """
    random = np.random.default_rng(seed)
    dim = centres.shape[1]
    spectrum = 1 / (1 + np.arange(dim, dtype=np.float32) / 16)
    axes, _ = np.linalg.qr(random.standard_normal((dim, dim)))
    mix = (axes * (spectrum * SPREAD / np.linalg.norm(spectrum))).astype(np.float32)
    rows = np.empty((count, dim), np.float32)
    for start in range(0, count, 50_000):  # keeps the memory of a million in bounds
        part = rows[start : start + 50_000]
        noise = random.standard_normal(part.shape, dtype=np.float32) @ mix.T
        part[:] = centres[random.integers(0, len(centres), len(part))] + noise
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def fill_collection(collection: OpenCollection, rows: Vectors) -> None:
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        collection.store.upsert(list(make_records(start, batch)))
    collection.store.flush()


def make_records(start: int, rows: Vectors) -> Iterator[Record]:
    for number, row in enumerate(rows, start):
        path = f"/pictures/{number // 1000:04d}/{number:07d}.jpg"
        payload = {"paths": [path], "kind": "image", "format": "jpeg", "name": Path(path).name}
        yield Record(str(UUID(int=number)), {IMAGE: row}, payload)


def measure(size: int, queries: list[str], model: Embedder, centres: Vectors) -> list[object]:
    rows = make_vectors(centres, size, seed=size)
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        config = load_config({"store": scratch})
        with OpenCollection.open_or_create(config, model.card) as collection:
            fill_collection(collection, rows)
            searcher = Searcher(collection, lambda: model)
            for text in queries[:5]:  # warm: the sample is drawn, pages are in memory
                search(searcher, text, fold=True)
            times = np.array([search(searcher, text, fold=True)[1] for text in queries])
            found = [search(searcher, text, fold=False)[0] for text in queries]
    recall = np.mean(
        [
            len(set(hits) & set(search_exactly(rows, model, text))) / 10
            for hits, text in zip(found, queries, strict=True)
        ]
    )
    p50, p95 = np.percentile(times * 1e3, (50, 95))
    return [f"{size:,}", f"{p50:.1f}", f"{p95:.1f}", f"{recall:.3f}"]


def search(searcher: Searcher, text: str, *, fold: bool) -> tuple[list[str], float]:
    query = Query((Part(text=text),), limit=10, group_duplicates=fold)
    start = time.perf_counter()
    results = searcher.search(query)
    return [hit.id for hit in results.hits], time.perf_counter() - start


def search_exactly(rows: Vectors, model: Embedder, text: str) -> list[str]:
    (query,) = model.embed([Input(text)], "query")
    best = np.argsort(-(rows @ query), kind="stable")[:10]
    return [str(UUID(int=int(number))) for number in best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    model = embedder.load("starter")
    centres = model.embed([Input(thing) for thing in THINGS], "document")
    texts = [phrase.format(thing) for phrase in PHRASES for thing in THINGS][: options.queries]
    rows = [measure(size, texts, model, centres) for size in options.sizes]
    head = ["points", "p50 ms", "p95 ms", "recall@10"]
    body = f"{len(texts)} queries of words, 384 dimensions a point.\n\n{render_table(head, rows)}"
    publish("Search", body, write=options.write)


if __name__ == "__main__":
    main()
