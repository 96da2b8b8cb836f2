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
from bench.make_jpegs import write_photograph
from bench.report import publish, render_table
from embedder import Embedder, Input
from embedder.images.decode import decode_image
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest

BATCH = 32


def measure_rate(model: Embedder, inputs: list[Input]) -> float:
    """Inputs a second, in batches, after one to warm up."""
    model.embed(inputs[:BATCH], "document")
    start = time.perf_counter()
    for first in range(0, len(inputs), BATCH):
        model.embed(inputs[first : first + BATCH], "document")
    return len(inputs) / (time.perf_counter() - start)


def measure_ingest(model: Embedder, folder: Path, store: Path) -> float:
    """Pictures a second of an ingest of `folder`, the model loaded before."""
    with OpenCollection.open_or_create(
        load_config({"store": str(store)}), model.card
    ) as collection:
        start = time.perf_counter()
        report = ingest([folder], collection, model)
        return report.added / (time.perf_counter() - start)


def read_image(path: Path, side: int) -> Image.Image:
    return decode_image(path.read_bytes(), side=side).image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    model = embedder.load("starter")
    with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
        folder = Path(scratch) / "jpegs"
        for seed in range(options.count):
            write_photograph(folder, seed)
        side = model.card.image_side
        pictures = [
            Input(images=(read_image(path, side),)) for path in sorted(folder.rglob("*.jpg"))
        ]
        images = measure_rate(model, pictures)
        texts = measure_rate(
            model, [Input(f"a photo of number {n}") for n in range(4 * options.count)]
        )
        ingested = measure_ingest(model, folder, Path(scratch) / "store")
    rows = [
        ["pictures, the model alone", f"{images:.1f}"],
        ["pictures, a whole ingest of 1600 x 1200 JPEGs", f"{ingested:.1f}"],
        ["texts, the model alone", f"{texts:.0f}"],
    ]
    body = (
        f"{options.count} pictures; batches of {BATCH}.\n\n{render_table(['', 'a second'], rows)}"
    )
    publish("Starter model", body, write=options.write)


if __name__ == "__main__":
    main()
