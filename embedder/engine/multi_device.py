"""A model on several devices: a process each, which loads its own copy of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from embedder.engine.device_worker import DeviceWorker
from embedder.types import Input, ModelCard, Role, Settings, Vectors

CHUNK_SIZE = 64  # inputs that a device gets at once: enough for its own batching


class MultiDeviceEmbedder:
    """An embedder over `settings.device` with commas, such as "cuda:0,cuda:1". Thread-safe."""

    def __init__(self, name: str, settings: Settings) -> None:
        """Loads on all of them at once; raises what the first that fails raises."""
        names = [part.strip() for part in (settings.device or "").split(",") if part.strip()]
        self._workers = [DeviceWorker(name, replace(settings, device=device)) for device in names]
        self.lanes = len(names)  # calls at once that make sense
        try:
            cards = [worker.wait_until_loaded() for worker in self._workers]
        except BaseException:
            self.close()
            raise
        self.card: ModelCard = cards[0]

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """(n, dim) unit rows in the order of `inputs`; a device that is done takes the next chunk.

        Raises `EmbedderError`, also when a device's process has died.
        """
        size = max(1, min(CHUNK_SIZE, -(-len(inputs) // len(self._workers))))
        starts = iter(range(0, len(inputs), size))  # shared: each worker takes what comes next
        out = np.empty((len(inputs), self.card.dim), dtype=np.float32)

        def embed_chunks(worker: DeviceWorker) -> None:
            for start in starts:
                chunk = list(inputs[start : start + size])
                out[start : start + size] = worker(chunk, role, instruction)

        with ThreadPoolExecutor(len(self._workers)) as threads:
            for future in [threads.submit(embed_chunks, worker) for worker in self._workers]:
                future.result()
        return out

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()
