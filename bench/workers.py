"""What workers on Ray cost beside one process: `python -m bench.workers FOLDER [--runs 3]`.

The real ingest of the same folder with the starter model, in turns: one process; one worker on a
Ray of this machine; as many as asked for. Each has loaded its model, and Ray has started, before
the clock does; how long that took stands in a column of its own. CPU is that of this process, the
store's shard server, and every process of Ray.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.report import publish, render_table
from embedder import Input
from indexer.collections import open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import make_lazy_embedder
from indexer.config import load_config
from indexer.ingest.distributed.coordinator import Coordinator
from indexer.ingest.pipeline import ingest
from indexer.ingest.types import IngestOptions


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: until ready, of the run, and of CPU in the run."""

    pictures: int
    start: float
    wall: float
    cpu: float


def measure_ingest(folder: Path, scratch: Path, address: str | None) -> Cost:
    config = load_config({"store": str(scratch / (address or "one").replace(":", "-"))})
    how = IngestOptions()
    model = make_lazy_embedder(config, None)
    with OpenCollection.open_or_create(config, model.card) as collection:
        index = open_backend(config).get_indexes(config.collection).in_use
        began = time.perf_counter()
        with (
            Coordinator(address, config, index, [folder], how)
            if address
            else nullcontext() as fleet
        ):
            if fleet:
                fleet.wait_for_workers()
            else:
                model.embed([Input("warm")], "document")
            start = time.perf_counter() - began
            wall, cpu = time.perf_counter(), cpu_seconds()
            report = ingest([folder], collection, model, how, coordinator=fleet)
            return Cost(report.added, start, time.perf_counter() - wall, cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """CPU of this process and all that came from it and still live."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def render_row(name: str, costs: list[Cost], alone: list[Cost]) -> list[str]:
    def median(what: Callable[[Cost], float], of: list[Cost] = costs) -> float:
        return statistics.median(what(cost) for cost in of)

    def cpu(cost: Cost) -> float:
        return cost.cpu / cost.pictures * 1e3

    more = median(cpu) / median(cpu, alone) - 1
    each = f"{median(cpu):.0f} ({min(map(cpu, costs)):.0f}-{max(map(cpu, costs)):.0f})"
    rate = median(lambda cost: cost.pictures / cost.wall)
    return [name, f"{median(lambda cost: cost.start):.1f}", f"{rate:.1f}", each, f"{more:+.0%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    addresses = [None, "local:1", f"local:{options.workers}"]
    costs: dict[str | None, list[Cost]] = {address: [] for address in addresses}
    for _ in range(options.runs):
        for address in addresses:
            with tempfile.TemporaryDirectory(prefix="polylens-bench-") as scratch:
                costs[address].append(measure_ingest(options.folder, Path(scratch), address))
    names = {None: "one process"} | {a: f"`--workers {a}`" for a in addresses if a}
    rows = [render_row(names[address], costs[address], costs[None]) for address in addresses]
    head = ["", "s until ready", "pictures a s", "CPU ms a picture, median (range)", "more CPU"]
    body = (
        f"{costs[None][0].pictures} pictures, the starter model, {options.runs} runs in turns.\n\n"
        f"{render_table(head, rows)}"
    )
    publish("Workers", body, write=options.write)


if __name__ == "__main__":
    main()
