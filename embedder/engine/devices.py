"""A model on several devices: a process each, which loads its own copy of the weights."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TypeVar

import numpy as np

from embedder.errors import EmbedderError
from embedder.types import Embedder, Input, ModelCard, Role, Settings, Vectors

T = TypeVar("T")
CHUNK = 64  # inputs that a device gets at once: enough for its own batching
_here: list[Embedder] = []  # in a worker: its model


class Devices:
    """An embedder over `settings.device` with commas, such as "cuda:0,cuda:1". Thread-safe."""

    def __init__(self, name: str, settings: Settings) -> None:
        names = [part.strip() for part in (settings.device or "").split(",") if part.strip()]
        spawn = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._workers = [ProcessPoolExecutor(1, mp_context=spawn) for _ in names]
        pairs = zip(self._workers, names, strict=True)
        loading = [w.submit(_load, name, replace(settings, device=n)) for w, n in pairs]
        try:
            cards = [_result(future) for future in loading]
        except BaseException:
            self.close()
            raise
        self.card: ModelCard = cards[0]
        self.lanes = len(names)  # calls at once that make sense

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """(n, dim) unit rows in the order of `inputs`; a device that is done takes the next chunk.

        Raises `EmbedderError`, also when a worker has died.
        """
        size = max(1, min(CHUNK, -(-len(inputs) // len(self._workers))))
        starts = iter(range(0, len(inputs), size))  # shared: each worker takes what comes next
        out = np.empty((len(inputs), self.card.dim), dtype=np.float32)

        def drain(worker: ProcessPoolExecutor) -> None:
            for start in starts:
                chunk = list(inputs[start : start + size])
                rows = _result(worker.submit(_embed, chunk, role, instruction))
                out[start : start + size] = rows

        with ThreadPoolExecutor(len(self._workers)) as threads:
            for done in [threads.submit(drain, worker) for worker in self._workers]:
                done.result()
        return out

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.shutdown(wait=False, cancel_futures=True)


def _load(name: str, settings: Settings) -> ModelCard:
    from embedder.registry import load

    _here[:] = [load(name, settings)]
    return _here[0].card


def _embed(inputs: Sequence[Input], role: Role, instruction: str | None) -> Vectors:
    return _here[0].embed(inputs, role, instruction)


def _result(future: Future[T]) -> T:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise EmbedderError(
            "a device's process has died, perhaps for want of memory; give fewer devices or a "
            "smaller model"
        ) from error
