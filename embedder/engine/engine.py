"""Turns a backbone into an embedder: batches by cost, the CPU ahead of the device."""

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

from embedder.engine.backbone import Backbone, Batch, Bucket
from embedder.engine.batching import count_tokens, plan_batches
from embedder.errors import EmbedderError
from embedder.types import Input, ModelCard, Role, Settings, Vectors
from embedder.vectors import normalize

if TYPE_CHECKING:
    import torch

MIN_BATCHES, MIN_BATCH_TOKENS = (
    4,
    4_096,
)  # a call is cut in so many batches, unless they would be smaller than that
PREFETCH_BATCHES = 4  # batches made ready while one is on the device
DEFAULT_BATCH_TOKENS = {
    "cuda": 32_768,
    "cpu": 4_096,
    "mps": 8_192,
}  # in a batch, until memory says otherwise


@dataclass(slots=True)
class Timing:
    """Seconds spent so far. `wait`: the device had nothing to do; `device`: the CPU had to wait."""

    prepare: float = 0.0
    wait: float = 0.0
    device: float = 0.0
    halved: int = 0


class Engine:
    """An embedder around a backbone. Thread-safe: one call prepares while another computes."""

    def __init__(self, backbone: Backbone[Any], settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.backbone = backbone
        self._workers = settings.workers or default_worker_count()
        self._budget = settings.batch_tokens or DEFAULT_BATCH_TOKENS.get(
            backbone.device.type, 4_096
        )
        self._item_pool = ThreadPoolExecutor(self._workers, thread_name_prefix="item")
        self._batch_pool = ThreadPoolExecutor(PREFETCH_BATCHES, thread_name_prefix="batch")
        self._forward_lock = threading.Lock()
        self.timing = Timing()

    @property
    def card(self) -> ModelCard:
        return self.backbone.card

    @property
    def lanes(self) -> int:
        """Calls at once that make sense: while a GPU has one, the CPU prepares another."""
        return 1 if self.backbone.device.type == "cpu" else 2

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """(n, dim) unit rows, in the order of `inputs`; raises `EmbedderError`."""
        rows = self.states(inputs, role, instruction)[:, : self.card.dim]
        if not np.isfinite(rows).all():
            raise EmbedderError(f"{self.card.name} gave numbers that are not finite; try float32")
        return normalize(rows)

    def states(
        self, inputs: Sequence[Input], role: Role, instruction: str | None = None
    ) -> NDArray[np.float32]:
        """(n, full dim) as the model gives them, before they are cut and brought to length 1."""
        if not inputs:
            return np.zeros((0, self.card.dim), dtype=np.float32)
        start = time.perf_counter()
        ready = [self.backbone.prepare(item, role, instruction) for item in inputs]
        buckets = [self.backbone.bucket(item) for item in ready]
        self.timing.prepare += time.perf_counter() - start
        return self._run(ready, buckets)

    def _run(self, ready: Sequence[Any], buckets: Sequence[Bucket]) -> NDArray[np.float32]:
        """Collate in threads, ahead of the device; where memory runs out, plan smaller batches."""
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
        """The batches of a call, as indices of `buckets`: a few at the least, so that the device
        begins with the first while the others are being prepared."""
        share = sum(bucket.tokens + bucket.extra_tokens for bucket in buckets) // MIN_BATCHES
        return plan_batches(buckets, min(self._budget, max(share, MIN_BATCH_TOKENS)))

    def _prefetch(
        self, waiting: deque[list[int]], ready: Sequence[Any]
    ) -> Iterator[tuple[list[int], Future[Batch]]]:
        """The rows of each batch, in order, being collated while those before are on the device."""
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
        """(rows, dim), maybe not computed yet; None where memory ran out, which is free again."""
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
        """Half of what was too much is the most from now on."""
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
    """Threads for preparing pictures: as many as this process may use, at most 8."""
    import os

    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
