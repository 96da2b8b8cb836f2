"""Whether memory grows with the number of files: `python -m bench.memory [--count 100000]`.

Ingests many small pictures with a near-null embedder and reports the peak resident memory of the
process and of the shard server, for a tenth of the files and for all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bench.cpu_time import find_shard_server
from bench.null_embedder import NullEmbedder
from bench.report import publish, render_table
from indexer.collections.collection import OpenCollection
from indexer.config import load_config
from indexer.ingest.pipeline import ingest


def write_images(folder: Path, count: int) -> None:
    """Small JPEGs, no two alike: one picture with its number behind the end."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = BytesIO()
    Image.fromarray(noise).save(data, "JPEG", quality=50)
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue() + number.to_bytes(8, "big"))


def peak_memory(pid: int) -> float:
    """MB of resident memory at most so far."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def run_child(folder: str, store: str) -> None:
    """In a process of its own: ingest, then print the peaks."""
    import os

    embedder = NullEmbedder()
    with OpenCollection.open_or_create(load_config({"store": store}), embedder.card) as collection:
        report = ingest([Path(folder)], collection, embedder)
        server = find_shard_server(collection.path).pid
        print(json.dumps([report.added, peak_memory(os.getpid()), peak_memory(server)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    rows = []
    for count in (options.count // 10, options.count):
        with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
            write_images(Path(scratch) / "files", count)
            words = [sys.executable, "-m", "bench.memory", "--child", scratch]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
            added, own, server = json.loads(done.stdout)
            assert added == count, (added, count)
            rows.append([f"{count:,}", f"{own:.0f}", f"{server:.0f}"])
    head = ["files", "ingest, peak MB", "shard server, peak MB"]
    publish("Memory of an ingest", render_table(head, rows), write=options.write)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_child(f"{sys.argv[2]}/files", f"{sys.argv[2]}/store")
    else:
        main()
