"""Runs a backbone: batches by cost, prepared on the CPU ahead of the device."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder.encoding import EmbeddingModel
from embedder.engine.backbone import Backbone, Batch, Bucket
from embedder.engine.batching import count_tokens, plan_batches
from embedder.errors import EmbedderError
from embedder.types import Input, Role, Settings, Vectors, check_role
from embedder.vectors import normalize

if TYPE_CHECKING:
    import torch

MIN_BATCHES, MIN_BATCH_TOKENS = 4, 4_096  # a call is split into 4 batches or smaller-than-that ones
PREFETCH_BATCHES = 4  # batches prepared while one is on the device
DEFAULT_BATCH_TOKENS = {"cuda": 32_768, "cpu": 4_096, "mps": 8_192}  # halved if memory runs out


@dataclass(slots=True)
class Timing:
    """Seconds spent: preparing, waiting for a batch (`wait`), waiting for the device (`device`)."""

    prepare: float = 0.0
    wait: float = 0.0
    device: float = 0.0
    halved: int = 0


class Engine(EmbeddingModel):
    """A model around a backbone. Thread-safe: one call prepares while another computes."""

    def __init__(self, backbone: Backbone[Any], settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.backbone, self.card = backbone, backbone.card
        self._workers = settings.workers or default_worker_count()
        self._budget = settings.batch_tokens or DEFAULT_BATCH_TOKENS.get(
            backbone.device.type, 4_096
        )
        self._item_pool = ThreadPoolExecutor(self._workers, thread_name_prefix="item")
        self._batch_pool = ThreadPoolExecutor(PREFETCH_BATCHES, thread_name_prefix="batch")
        self._forward_lock = threading.Lock()
        self.timing = Timing()

    @property
    def max_concurrency(self) -> int:
        """Two on a GPU: the CPU prepares one call while the GPU computes another."""
        return 1 if self.backbone.device.type == "cpu" else 2

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs`; raise `EmbedderError` also for a vector that is not finite."""
        rows = self.states(inputs, role, instruction)[:, : self.card.dim]
        if not np.isfinite(rows).all():
            raise EmbedderError(
                f"{self.card.name} computed a vector that is not finite; try --dtype float32"
            )
        return normalize(rows)

    def states(
        self, inputs: Sequence[Input], role: Role, instruction: str | None = None
    ) -> NDArray[np.float32]:
        """Compute (n, full dim) rows, before truncation and normalization."""
        if not inputs:
            return np.zeros((0, self.card.dim), dtype=np.float32)
        check_role(role)
        start = time.perf_counter()
        ready = [self.backbone.prepare(item, role, instruction) for item in inputs]
        buckets = [self.backbone.bucket(item) for item in ready]
        self.timing.prepare += time.perf_counter() - start
        return self._run(ready, buckets)

    def _run(self, ready: Sequence[Any], buckets: Sequence[Bucket]) -> NDArray[np.float32]:
        """Collate in threads ahead of the device; if memory runs out, plan smaller batches."""
        import torch

        waiting = deque(self.plan_batches(buckets))
        computed: list[tuple[list[int], torch.Tensor]] = []
        with torch.inference_mode():
            for rows, collated in self._prefetch(waiting, ready):
                states = self._forward(self._wait_for_batch(collated))
                if states is not None:
                    computed.append((rows, states))
                    continue
                self._halve_budget(rows, buckets)
                rest = rows + [row for later in waiting for row in later]
                waiting.clear()
                replanned = self.plan_batches([buckets[row] for row in rest])
                waiting.extend([rest[index] for index in batch] for batch in replanned)
            return self._gather_rows(computed, len(ready))

    def plan_batches(self, buckets: Sequence[Bucket]) -> list[list[int]]:
        """Split a call into batches of indices; a few at least, so that the device starts with the
        first while the others are prepared."""
        share = sum(bucket.tokens + bucket.extra_tokens for bucket in buckets) // MIN_BATCHES
        return plan_batches(buckets, min(self._budget, max(share, MIN_BATCH_TOKENS)))

    def _prefetch(
        self, waiting: deque[list[int]], ready: Sequence[Any]
    ) -> Iterator[tuple[list[int], Future[Batch]]]:
        """Yield the rows of each batch, collated while earlier batches are on the device."""
        started: deque[tuple[list[int], Future[Batch]]] = deque()
        while waiting or started:
            while waiting and len(started) <= PREFETCH_BATCHES:
                rows = waiting.popleft()
                items = [ready[row] for row in rows]
                started.append((rows, self._batch_pool.submit(self._collate, items)))
            yield started.popleft()

    def _collate(self, items: Sequence[Any]) -> Batch:
        processed = list(self._item_pool.map(self.backbone.process, items))
        batch = self.backbone.collate(items, processed)
        if self.backbone.device.type != "cuda":
            return batch
        return {name: v.pin_memory() if _is_tensor(v) else v for name, v in batch.items()}

    def _wait_for_batch(self, collated: Future[Batch]) -> Batch:
        start = time.perf_counter()
        batch = collated.result()
        self.timing.wait += time.perf_counter() - start
        return batch

    def _forward(self, batch: Batch) -> torch.Tensor | None:
        """Start computing (rows, dim); None if memory ran out."""
        import torch

        device = self.backbone.device
        try:
            moved = {
                name: value.to(device, non_blocking=True) if _is_tensor(value) else value
                for name, value in batch.items()
            }
            with self._forward_lock:
                return self.backbone.forward(moved).float()
        except torch.OutOfMemoryError:
            return None

    def _halve_budget(self, rows: Sequence[int], buckets: Sequence[Bucket]) -> None:
        """Allow half of what was too much from now on."""
        import torch

        batch_tokens = count_tokens([buckets[row] for row in rows])
        if len(rows) == 1:
            raise EmbedderError(
                f"{self.card.name} has too little memory on {self.backbone.device} for one input "
                f"of {batch_tokens} tokens; give it a smaller --pixel-budget, or more memory"
            )
        self._budget = min(self._budget, batch_tokens // 2)
        self.timing.halved += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _gather_rows(
        self, computed: Sequence[tuple[list[int], torch.Tensor]], count: int
    ) -> NDArray[np.float32]:
        import torch

        start = time.perf_counter()
        states = torch.cat([rows for _, rows in computed]).cpu().numpy()
        self.timing.device += time.perf_counter() - start
        out = np.empty((count, states.shape[1]), dtype=np.float32)
        out[[row for rows, _ in computed for row in rows]] = states
        return out


def default_worker_count() -> int:
    """Return how many threads prepare images: the cores of this process, at most 8."""
    import os

    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
