"""A model on several devices: one process per device, each with a copy of the weights.

Not multiprocessing: it would run the caller's main module again in every worker, and under
Streamlit the main module is the page.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np

from embedder.encoding import EmbeddingModel
from embedder.errors import UnavailableError
from embedder.families.registry import find_family
from embedder.types import Input, ModelCard, Role, Settings, Vectors

CHUNK_SIZE = 64  # inputs a device gets at once: enough for its own batching
WORKER_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from embedder.multi_device import main; main({fd})"
)
PROCESS_DIED = (
    "a device's process has died, perhaps out of memory; give fewer devices, or a smaller model"
)


class MultiDeviceEmbedder(EmbeddingModel):
    """A model on every device of `settings.device`, such as "cuda:0,cuda:1". Thread-safe."""

    def __init__(self, name: str, settings: Settings) -> None:
        """Load on all devices at the same time; raise the first failure."""
        names = [part.strip() for part in (settings.device or "").split(",") if part.strip()]
        self._workers = [DeviceWorker(name, replace(settings, device=device)) for device in names]
        try:
            cards = [worker.receive() for worker in self._workers]
        except BaseException:
            self.close()
            raise
        self.card: ModelCard = cards[0]

    @property
    def max_concurrency(self) -> int:
        return len(self._workers)

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs`; a device that is done takes the next chunk.

        Raises `EmbedderError`, also if a device's process has died.
        """
        return self.embed_and_count(inputs, role, instruction)[0]

    def embed_and_count(
        self, inputs: Sequence[Input], role: Role, instruction: str | None = None
    ) -> tuple[Vectors, list[int]]:
        """As `embed`, with the number of tokens of each input."""
        size = max(1, min(CHUNK_SIZE, -(-len(inputs) // len(self._workers))))
        starts = iter(range(0, len(inputs), size))  # shared: each worker takes the next chunk
        vectors = np.empty((len(inputs), self.card.dim), dtype=np.float32)
        tokens = [0] * len(inputs)

        def embed_chunks(worker: DeviceWorker) -> None:
            for start in starts:
                chunk = list(inputs[start : start + size])
                end = start + len(chunk)
                vectors[start:end], tokens[start:end] = worker(chunk, role, instruction)

        with ThreadPoolExecutor(len(self._workers)) as threads:
            for future in [threads.submit(embed_chunks, worker) for worker in self._workers]:
                future.result()
        return vectors, tokens

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


class DeviceWorker:
    """A model in a process of its own, used by one caller at a time."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._connection, worker_end = Pipe()
        self._lock = threading.Lock()
        descriptor = worker_end.fileno()
        code = WORKER_PROGRAM.format(path=sys.path, fd=descriptor)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], pass_fds=[descriptor], stdin=subprocess.DEVNULL
        )
        worker_end.close()
        self._connection.send((name, settings))

    def __call__(self, *arguments: Any) -> Any:
        """Call the model's `embed_and_count`; raise what it raises, and `UnavailableError` for a
        dead process."""
        with self._lock:
            try:
                self._connection.send(arguments)
            except OSError:
                raise UnavailableError(PROCESS_DIED) from None
            return self.receive()

    def receive(self) -> Any:
        """Return the model's card at first, then what a call returned; raise what it raised."""
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise UnavailableError(PROCESS_DIED) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process once it is idle."""
        self._connection.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(fd: int) -> None:
    """Run the worker's process: load a model, then embed until the caller closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller handles Ctrl-C
    connection = Connection(fd)
    try:
        name, settings = connection.recv()
        try:
            family, bare_name = find_family(name)
            model = family.load(bare_name, settings)
        except Exception as error:  # the caller raises it
            connection.send(error)
            return
        connection.send(model.card)
        while True:
            inputs, role, instruction = connection.recv()
            try:
                connection.send(model.embed_and_count(inputs, role, instruction))
            except Exception as error:  # the caller raises it
                connection.send(error)
    except (EOFError, OSError):
        return  # the caller is gone
