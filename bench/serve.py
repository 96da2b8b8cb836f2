"""What serving a model costs: `python -m bench.serve [--count 512] [--runs 3]`.

Three models: `null` costs next to nothing, `device` sleeps as long as an accelerator would be at
work (10 ms a batch and 1 ms a text), `starter` is the real one. Each embeds texts offline, in
batches; then 32 clients, each with one text a request, ask a server with the same batches for them;
then one client alone. Offline and served take turns, each in a process of its own on the same
machine, where the clients need their share too. CPU time is the server's alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

import embedder.families.starter.model
from bench.null_embedder import NullEmbedder
from bench.report import publish, render_table
from embedder.server.run import run_server
from embedder.server.schemas import ServerLimits
from embedder.server.service import Service
from embedder.types import Embedder, Input, Role, Vectors

CLIENTS = 32
SINGLE_REQUESTS = 64  # requests of one client alone


class SleepingEmbedder(NullEmbedder):
    """Takes an accelerator's time, and no core's."""

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        time.sleep(0.010 + 0.001 * len(inputs))
        return super().embed(inputs, role, instruction)


MODELS = {
    "null": NullEmbedder,
    "device": SleepingEmbedder,
    "starter": embedder.families.starter.model.Starter,
}


@dataclass(frozen=True, slots=True)
class Speed:
    """Texts a second, CPU ms a text, and ms of one text alone, the median."""

    rate: float
    cpu: float
    alone: float


def make_texts(count: int) -> list[str]:
    return [f"a photo of number {n} on a table" for n in range(count)]


def measure_offline(model: Embedder, count: int, batch: int) -> Speed:
    """`embed` itself, after a batch to warm up."""
    inputs = [Input(text) for text in make_texts(count)]
    model.embed(inputs[:batch], "query")
    start, cpu = time.perf_counter(), time.process_time()
    for first in range(0, count, batch):
        model.embed(inputs[first : first + batch], "query")
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    return Speed(
        count / took, 1000 * cpu / count, _measure_latency(lambda i: model.embed([i], "query"))
    )


def _measure_latency(ask) -> float:
    times = []
    for text in make_texts(SINGLE_REQUESTS):
        start = time.perf_counter()
        ask(Input(text))
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


@contextmanager
def start_server(name: str, batch: int) -> Iterator[tuple[str, psutil.Process]]:
    """Host and port of a server in a process of its own."""
    words = [sys.executable, "-m", "bench.serve", "--serve", name, "--batch", str(batch)]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        line = child.stderr.readline()
        yield line.split("//")[1].split("/")[0], psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)


class Client:
    """One connection that is kept."""

    def __init__(self, host: str, model: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=120)
        self._model = model

    def embed(self, text: str) -> None:
        body = {"model": self._model, "input": text, "encoding_format": "base64"}
        self._connection.request("POST", "/v1/embeddings", json.dumps(body))
        answer = self._connection.getresponse()
        if answer.status != 200 or b'"embedding"' not in answer.read():
            raise SystemExit(f"the server answered with {answer.status}")


def measure_served(name: str, count: int, batch: int) -> Speed:
    """The same texts through a server, by many clients and then by one."""
    with start_server(name, batch) as (host, process):
        clients = [Client(host, name if name == "starter" else "null") for _ in range(CLIENTS)]
        shares = [make_texts(count)[i::CLIENTS] for i in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(_send, clients, [["warm"]] * CLIENTS))
            start, cpu = time.perf_counter(), _cpu_seconds(process)
            list(pool.map(_send, clients, shares))
            took, cpu = time.perf_counter() - start, _cpu_seconds(process) - cpu
        alone = _measure_latency(lambda item: clients[0].embed(item.text))
    return Speed(count / took, 1000 * cpu / count, alone)


def _send(client: Client, share: Sequence[str]) -> None:
    for text in share:
        client.embed(text)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _measure_offline_in_subprocess(name: str, count: int, batch: int) -> Speed:
    words = [sys.executable, "-m", "bench.serve", "--offline", name]
    words += ["--count", str(count), "--batch", str(batch)]
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return Speed(*json.loads(output))


def measure(name: str, count: int, batch: int, runs: int) -> list[object]:
    """A row: both ways in turns, medians, and the ratios."""
    given = name, count, batch
    pairs = [(_measure_offline_in_subprocess(*given), measure_served(*given)) for _ in range(runs)]

    def median(side: int, what: str) -> float:
        return statistics.median(getattr(pair[side], what) for pair in pairs)

    rate = statistics.median(there.rate / here.rate for here, there in pairs)
    alone = statistics.median(there.alone / here.alone for here, there in pairs)
    return [
        name,
        batch,
        f"{median(0, 'rate'):.0f}",
        f"{median(1, 'rate'):.0f}",
        f"{100 * rate:.0f}%",
        f"{median(0, 'cpu'):.2f}",
        f"{median(1, 'cpu'):.2f}",
        f"{median(0, 'alone'):.1f}",
        f"{median(1, 'alone'):.1f}",
        f"{alone:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 16])
    parser.add_argument("--serve", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--offline", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    options = parser.parse_args()
    if options.offline:
        speed = measure_offline(MODELS[options.offline](), options.count, options.batch[0])
        print(json.dumps([speed.rate, speed.cpu, speed.alone]))
    elif options.serve:
        tell = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        run_server(
            MODELS[options.serve],
            Service(ServerLimits(), max_batch=options.batch[0]),
            port=0,
            notify=tell,
        )
    else:
        head = [
            "model",
            "batch",
            "offline, texts/s",
            "served, texts/s",
            "ratio",
            "offline, CPU ms a text",
        ]
        head += ["served, CPU ms a text", "offline, ms alone", "served, ms alone", "ratio"]
        rows = [
            measure(name, options.count, batch, options.runs)
            for name in options.models
            for batch in options.batch
        ]
        note = f"{options.count} texts, {CLIENTS} clients, {options.runs} runs."
        publish("Serving", f"{note}\n\n{render_table(head, rows)}", write=options.write)


if __name__ == "__main__":
    main()
