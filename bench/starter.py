"""The starter's speed: `python -m bench.starter [--count 256]`.

Images a second and texts a second of the model alone, and images a second of a whole ingest with it
(decoding, thumbnails and the store behind it), all of them warm.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from PIL import Image

import embedder
from bench.make_jpegs import make
from bench.report import publish, table
from embedder import Embedder, Input
from indexer.collection import Collection
from indexer.config import resolve
from indexer.decode import decode
from indexer.ingest import ingest

BATCH = 32


def rate(model: Embedder, inputs: list[Input]) -> float:
    """Inputs a second, in batches, after one to warm up."""
    model.embed(inputs[:BATCH], "document")
    start = time.perf_counter()
    for first in range(0, len(inputs), BATCH):
        model.embed(inputs[first : first + BATCH], "document")
    return len(inputs) / (time.perf_counter() - start)


def whole(model: Embedder, folder: Path, store: Path) -> float:
    """Pictures a second of an ingest of `folder`, the model loaded before."""
    with Collection.open_or_create(resolve({"store": str(store)}), model.card) as collection:
        start = time.perf_counter()
        report = ingest([folder], collection, model)
        return report.added / (time.perf_counter() - start)


def decoded(path: Path, side: int) -> Image.Image:
    return decode(path.read_bytes(), side=side).image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    model = embedder.load("starter")
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        folder = Path(scratch) / "jpegs"
        for seed in range(options.count):
            make(folder, seed)
        side = model.card.image_side
        pictures = [Input(images=(decoded(path, side),)) for path in sorted(folder.rglob("*.jpg"))]
        images = rate(model, pictures)
        texts = rate(model, [Input(f"a photo of number {n}") for n in range(4 * options.count)])
        ingested = whole(model, folder, Path(scratch) / "store")
    rows = [
        ["pictures, the model alone", f"{images:.1f}"],
        ["pictures, a whole ingest of 1600 x 1200 JPEGs", f"{ingested:.1f}"],
        ["texts, the model alone", f"{texts:.0f}"],
    ]
    body = f"{options.count} pictures; batches of {BATCH}.\n\n{table(['', 'a second'], rows)}"
    publish("Starter model", body, write=options.write)


if __name__ == "__main__":
    main()
