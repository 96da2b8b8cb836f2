"""How quick the app feels: `python -m bench.app [--points 100000]`.

A collection of synthetic vectors with captions, the real app and a real Chromium. Times are those
of the page: from the Enter key until the first picture of the new results is painted, from a click
on a picture until its original is, and of requests for further pages. Memory is the resident set of
the app's process, without the shard server's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from PIL import Image

import embedder
from bench.report import publish, render_table
from bench.search import THINGS, make_vectors
from embedder import Input
from indexer.collections.collection import OpenCollection
from indexer.collections.schema import BM25, IMAGE, TEXT
from indexer.config import load_config
from indexer.ingest.thumbnails import thumbnail_path
from indexer.search.bm25 import build_document_vector
from indexer.types import Record
from tools.browser import TIMEOUT, run_app, wait_for

BATCH = 1000
MAX_LINKS = 50_000  # ext4 allows 65,000 of one file
READING_SECONDS = 0.5  # of somebody who scrolls, on a page of 60 pictures
WARM_UP = 5  # searches that are not counted
PAGE_20 = 19 * 60  # hits before it

# Type over the box's words, press Enter, and wait until the first picture of other results shows.
SEARCH = """
const [words, done] = [arguments[0], arguments[arguments.length - 1]];
const box = document.querySelector(".pl-input");
const before = document.querySelector(".pl-grid");
box.value = words;
const start = performance.now();
box.form.requestSubmit();
const look = () => {
    const grid = document.querySelector(".pl-grid");
    const image = grid !== before && grid?.querySelector(".pl-tile img");
    if (image && image.complete && image.naturalWidth)
        requestAnimationFrame(() => done(performance.now() - start));
    else requestAnimationFrame(look);
};
look();
"""
OPEN = """
const done = arguments[arguments.length - 1];
const start = performance.now();
document.querySelectorAll(".pl-link")[arguments[0]].click();
const look = () => {
    const image = document.querySelector(".pl-viewer[open] .pl-original");
    if (image) requestAnimationFrame(() => done(performance.now() - start));
    else requestAnimationFrame(look);
};
look();
"""
FETCH = """
const done = arguments[arguments.length - 1];
const start = performance.now();
fetch(arguments[0]).then((answer) => answer.text()).then(() => done(performance.now() - start));
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        store, picture = Path(scratch) / "store", Path(scratch) / "picture.jpg"
        Image.effect_mandelbrot((448, 300), (-3, -2.5, 2, 2.5), 40).convert("RGB").save(picture)
        fill_store(store, options.points, picture)
        rows = measure(store, options.queries, Path(scratch))
    body = f"{options.points:,} points with captions.\n\n{render_table(['', ''], rows)}"
    publish("App", body, write=options.write)


def fill_store(store: Path, points: int, picture: Path) -> None:
    """Fill a collection with points about everyday things; all show one picture."""
    model = embedder.load("starter")
    centers = model.embed([Input(thing) for thing in THINGS], "document")
    images, texts = (make_vectors(centers, points, seed) for seed in (1, 1))
    config = load_config({"store": str(store)})
    with OpenCollection.open_or_create(config, model.card) as collection:
        for start in range(0, points, BATCH):
            end = min(start + BATCH, points)
            records = make_records(picture, start, images[start:end], texts[start:end])
            collection.store.upsert(list(records))
        collection.store.flush()
        for number in range(points):
            path = thumbnail_path(collection.index_dir / "thumbs", str(UUID(int=number)))
            path.parent.mkdir(parents=True, exist_ok=True)
            if number % MAX_LINKS == 0:
                shutil.copy(picture, path)
                thumbnail = path
            else:
                os.link(thumbnail, path)


def make_records(picture: Path, start: int, images: Any, texts: Any) -> Iterator[Record]:
    for number, (image, text) in enumerate(zip(images, texts, strict=True), start):
        caption = f"{THINGS[number % len(THINGS)]} number {number}"
        payload = {
            "paths": [str(picture)],
            "folder": [f"/pictures/{number // 1000:04d}"],
            "kind": "image",
            "format": "jpeg",
            "name": f"IMG_{number:06d}.jpg",
            "width": 448,
            "height": 300,
            "year": 2000 + number % 25,
            "content": f"{number:064x}",
            "captions": [{"text": caption, "language": "en", "source": "sidecar"}],
            "languages": ["en"],
            "tags": [],
        }
        words = build_document_vector(((caption, "en"),))
        yield Record(str(UUID(int=number)), {IMAGE: image, TEXT: text, BM25: words}, payload)


def measure(store: Path, queries: int, scratch: Path) -> list[list[object]]:
    with run_app(store, scratch) as (browser, url, process_id):
        browser.set_script_timeout(TIMEOUT)
        browser.get(url)
        wait_for(lambda: browser.find_elements("css selector", ".pl-tile"))
        words = [f"{thing} {n}" for n in range(queries) for thing in THINGS][: queries + WARM_UP]
        searches = [browser.execute_async_script(SEARCH, text) for text in words][WARM_UP:]
        pages = measure_pages(browser, words[:5])
        opened = []
        for place in range(10):
            opened.append(browser.execute_async_script(OPEN, place))
            browser.back()
            time.sleep(0.5)
        resident = psutil.Process(process_id).memory_info().rss / 2**20
    first, later, slowest = pages
    return [
        ["Enter to the first picture, p50", f"{statistics.median(searches):.0f} ms"],
        ["page 1, p50", f"{first:.0f} ms"],
        ["page 20, p50", f"{later:.0f} ms"],
        ["the slowest of pages 2 to 20, p50", f"{slowest:.0f} ms"],
        ["a click to the original, p50", f"{statistics.median(opened):.0f} ms"],
        ["memory of the app", f"{resident:.0f} MB"],
    ]


def measure_pages(browser: Any, words: list[str]) -> tuple[float, float, float]:
    """The median times of page 1, of page 20, and of the slowest between them, as somebody reaches
    them who scrolls."""
    times: dict[int, list[float]] = {}
    for text in words:
        for offset in range(0, PAGE_20 + 1, 60):
            path = f"api/search?c=default&query={text}&offset={offset}&ranking={text}"
            times.setdefault(offset, []).append(browser.execute_async_script(FETCH, path))
            time.sleep(READING_SECONDS)
    medians = {offset: statistics.median(taken) for offset, taken in times.items()}
    return medians.pop(0), medians[PAGE_20], max(medians.values())


if __name__ == "__main__":
    main()
