"""CPU per image of everything but the model, next to rclip: `python -m bench.pipeline FOLDER`.

The real ingest with the real embedded store and an embedder that costs next to nothing: walk, hash,
EXIF, decode, thumbnail, upsert, catalog, flush. Counted is the CPU time of this process and of the
shard server. rclip runs on the same folder in turns with it, its model replaced by one as cheap; it
makes no thumbnails. It needs a virtual environment of its own:

    python3.12 -m venv /tmp/rclip && /tmp/rclip/bin/pip install "rclip>=4"
    python -m bench.pipeline FOLDER --rclip /tmp/rclip/bin/python
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.cpu_time import cpu_seconds, find_shard_server
from bench.null_embedder import NullEmbedder
from bench.report import publish, render_table
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest

PEER = Path(__file__).parent / "rclip_pipeline.py"


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU for a first run and for a second one with nothing changed."""

    pictures: int
    first: float
    again: float

    @property
    def ms_per_image(self) -> float:
        return self.first / self.pictures * 1e3  # ms


def measure_polylens(folder: Path, scratch: Path) -> Cost:
    embedder = NullEmbedder()
    costs, counts = [], []
    for _ in range(2):
        config = load_config({"store": str(scratch / "polylens")})
        with (
            OpenCollection.open_or_create(config, embedder.card) as collection,
            measure_cpu(collection.path) as spent,
        ):
            report = ingest([folder], collection, embedder)
            counts.append(report.added + report.unchanged)
            costs.append(spent())
    assert counts[0] == counts[1] > 0, counts
    return Cost(counts[0], *costs)


def measure_rclip(folder: Path, scratch: Path, python: Path) -> Cost:
    scratch = scratch / "rclip"
    scratch.mkdir()
    words = [str(python), str(PEER), str(folder), str(scratch)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return Cost(**json.loads(done.stdout))


@contextmanager
def measure_cpu(collection: Path) -> Iterator[Callable[[], float]]:
    """Seconds of CPU since it was entered, the shard server's included."""
    server = find_shard_server(collection)
    start = cpu_seconds(server)
    yield lambda: cpu_seconds(server) - start


def format_medians(costs: list[Cost]) -> list[str]:
    each = [cost.ms_per_image for cost in costs]
    again = statistics.median(cost.again for cost in costs)
    return [f"{statistics.median(each):.1f} ({min(each):.1f}-{max(each):.1f})", f"{again:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rclip", type=Path, help="the Python that rclip is installed in")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
            ours.append(measure_polylens(options.folder, Path(scratch)))
            if options.rclip:
                theirs.append(measure_rclip(options.folder, Path(scratch), options.rclip))
    rows = [["Polylens, thumbnails included", *format_medians(ours)]]
    if theirs:
        rows.append(["rclip, without thumbnails", *format_medians(theirs)])
    head = ["", "CPU ms a picture, median (range)", "unchanged re-scan, CPU s"]
    body = f"{ours[0].pictures} pictures, {options.runs} runs.\n\n{render_table(head, rows)}"
    publish("Pipeline", body, write=options.write)


if __name__ == "__main__":
    main()
