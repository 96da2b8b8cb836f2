"""Runs a model: batches by cost, prepared on the CPU ahead of the device.

A family gives a `Backbone` to the `Engine`, which turns it into an embedder. Rerankers run their
models with the same `BatchRunner`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.encoding import EmbeddingModel
from embedder.errors import EmbedderError
from embedder.types import (
    Input,
    MatchHead,
    ModelCard,
    Role,
    Settings,
    Vectors,
    check_role,
    normalize,
)

if TYPE_CHECKING:
    import torch

MIN_BATCHES, MIN_BATCH_TOKENS = 4, 4_096  # a call is split into 4 batches or smaller-than-that ones
PREFETCH_BATCHES = 4  # batches prepared while one is on the device
DEFAULT_BATCH_TOKENS = {"cuda": 32_768, "cpu": 4_096, "mps": 8_192}  # halved if memory runs out
MAX_PADDING_RATIO = 0.03  # the most padding in a batch, as a share of what it computes
FREE_PADDING_TOKENS = 64  # padded tokens that cost less than another batch would

T = TypeVar("T")
PreparedT_contra = TypeVar("PreparedT_contra", contravariant=True)

Batch: TypeAlias = Mapping[str, Any]
"""Keyword arguments of a model. Tensors are moved to its device, all else stays as it is."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What an input costs.

    Only inputs of the same `key` share a batch. In it, each costs as many tokens as the longest,
    and `extra_tokens` for what is not in the sequence, such as tiles.
    """

    key: Hashable
    tokens: int
    extra_tokens: int = 0


class BatchModel(Protocol[PreparedT_contra]):
    """A loaded model that computes batches of prepared inputs: token ids, and images not yet
    resized.

    All but `forward` runs on the CPU, `process` and `collate` in several threads at once.
    """

    @property
    def device(self) -> torch.device: ...

    def bucket(self, ready: PreparedT_contra) -> Bucket: ...

    def process(self, ready: PreparedT_contra) -> Any:
        """Do the costly part of one input, such as resizing its images."""
        ...

    def collate(self, items: Sequence[PreparedT_contra], processed: Sequence[Any]) -> Batch:
        """Pad the tensors of a batch, on the CPU."""
        ...

    def forward(self, batch: Batch) -> torch.Tensor:
        """Compute (n, dim) on the device, before truncation and normalization."""
        ...


class Backbone(BatchModel[T], Protocol[T]):
    """The model of an embedder; `T` is its prepared input."""

    @property
    def card(self) -> ModelCard: ...

    def prepare(self, item: Input, role: Role, instruction: str | None) -> T:
        """Tokenize an input; raise `EmbedderError` for one that the model cannot take."""
        ...

    def count_tokens(self, ready: T) -> int:
        """Count the tokens that the model reads, without padding."""
        ...


@dataclass(slots=True)
class Timing:
    """Seconds spent: preparing, waiting for a batch (`wait`), waiting for the device (`device`)."""

    prepare: float = 0.0
    wait: float = 0.0
    device: float = 0.0
    halved: int = 0


class Engine(EmbeddingModel):
    """An embedder around a backbone. Thread-safe: one call prepares while another computes."""

    def __init__(self, backbone: Backbone[Any], settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.backbone, self.card = backbone, backbone.card
        self.runner = BatchRunner(self.card.name, backbone, settings)

    @property
    def timing(self) -> Timing:
        return self.runner.timing

    @property
    def max_concurrency(self) -> int:
        """Two on a GPU: the CPU prepares one call while the GPU computes another."""
        return 1 if self.backbone.device.type == "cpu" else 2

    def describe_computation(self) -> str:
        """Describe how the vectors are computed: `cuda:0, bfloat16, flash_attention_2, nf4`.

        The kernel of attention is that of the language model, where there is one.
        """
        model: Any = getattr(self.backbone, "model", None)
        config: Any = getattr(model, "config", None)
        if config is None:
            return ""
        text = getattr(config, "text_config", None) or config
        attention = getattr(text, "_attn_implementation", None)
        dtype = str(model.dtype).removeprefix("torch.")
        parts = (str(self.backbone.device), dtype, attention, self.card.quantize)
        return ", ".join(part for part in parts if part)

    @property
    def match_head(self) -> MatchHead | None:
        head: MatchHead | None = getattr(self.backbone, "match_head", None)
        return head

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """Embed `inputs`; raise `EmbedderError` also for a vector that is not finite."""
        return self.embed_and_count(inputs, role, instruction)[0]

    def embed_and_count(
        self, inputs: Sequence[Input], role: Role, instruction: str | None = None
    ) -> tuple[Vectors, list[int]]:
        """As `embed`, with the number of tokens of each input."""
        ready = self._prepare(inputs, role, instruction)
        rows = self._compute_states(ready)[:, : self.card.dim]
        if not np.isfinite(rows).all():
            raise EmbedderError(
                f"{self.card.name} computed a vector that is not finite; try --dtype float32"
            )
        return normalize(rows), [self.backbone.count_tokens(item) for item in ready]

    def states(
        self, inputs: Sequence[Input], role: Role, instruction: str | None = None
    ) -> NDArray[np.float32]:
        """Compute (n, full dim) rows, before truncation and normalization."""
        return self._compute_states(self._prepare(inputs, role, instruction))

    def _prepare(
        self, inputs: Sequence[Input], role: Role, instruction: str | None
    ) -> Sequence[Any]:
        check_role(role)
        start = time.perf_counter()
        ready = [self.backbone.prepare(item, role, instruction) for item in inputs]
        self.timing.prepare += time.perf_counter() - start
        return ready

    def _compute_states(self, ready: Sequence[Any]) -> NDArray[np.float32]:
        if not ready:
            return np.zeros((0, self.card.dim), dtype=np.float32)
        return self.runner.run(ready)


class BatchRunner:
    """Runs prepared inputs through a model in batches. Thread-safe: one call prepares while another
    computes."""

    def __init__(self, name: str, model: BatchModel[Any], settings: Settings) -> None:
        """`name` is the model's, for messages."""
        self._name, self._model = name, model
        default_budget = DEFAULT_BATCH_TOKENS.get(model.device.type, 4_096)
        self._budget = settings.batch_tokens or default_budget
        workers = settings.workers or default_worker_count()
        self._item_pool = ThreadPoolExecutor(workers, thread_name_prefix="item")
        self._batch_pool = ThreadPoolExecutor(PREFETCH_BATCHES, thread_name_prefix="batch")
        self._forward_lock = threading.Lock()
        self.timing = Timing()

    def plan_batches(self, buckets: Sequence[Bucket]) -> list[list[int]]:
        """Split a call into batches of indices; a few at least, so that the device starts with the
        first while the others are prepared."""
        share = sum(bucket.tokens + bucket.extra_tokens for bucket in buckets) // MIN_BATCHES
        return plan_batches(buckets, min(self._budget, max(share, MIN_BATCH_TOKENS)))

    def run(self, ready: Sequence[Any]) -> NDArray[np.float32]:
        """Compute (n, dim) rows of one input or more; raise `EmbedderError` for too little memory.

        Batches are collated in threads ahead of the device; if memory runs out, smaller ones are
        planned.
        """
        import torch

        buckets = [self._model.bucket(item) for item in ready]
        waiting = deque(self.plan_batches(buckets))
        order: list[int] = []
        computed: list[torch.Tensor] = []
        with torch.inference_mode():
            for rows, collated in self._prefetch(waiting, ready):
                start = time.perf_counter()
                batch = collated.result()
                self.timing.wait += time.perf_counter() - start
                states = self._forward(batch)
                if states is not None:
                    order += rows
                    computed.append(states)
                    continue
                self._halve_budget(rows, buckets)
                rest = rows + [row for later in waiting for row in later]
                waiting.clear()
                replanned = self.plan_batches([buckets[row] for row in rest])
                waiting.extend([rest[index] for index in batch] for batch in replanned)
            start = time.perf_counter()
            states = torch.cat(computed).cpu()
            self.timing.device += time.perf_counter() - start
        out = np.empty(states.shape, dtype=np.float32)
        out[order] = states.numpy()
        return out

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
        import torch

        processed = list(self._item_pool.map(self._model.process, items))
        batch = self._model.collate(items, processed)
        if self._model.device.type != "cuda":
            return batch
        return {name: v.pin_memory() if torch.is_tensor(v) else v for name, v in batch.items()}

    def _forward(self, batch: Batch) -> torch.Tensor | None:
        """Start computing (rows, dim); None if memory ran out."""
        import torch

        device = self._model.device
        try:
            moved = {
                name: value.to(device, non_blocking=True) if torch.is_tensor(value) else value
                for name, value in batch.items()
            }
            with self._forward_lock:
                return self._model.forward(moved).float()
        except torch.OutOfMemoryError:
            return None

    def _halve_budget(self, rows: Sequence[int], buckets: Sequence[Bucket]) -> None:
        """Allow half of what was too much from now on."""
        import torch

        batch_tokens = count_tokens([buckets[row] for row in rows])
        if len(rows) == 1:
            raise EmbedderError(
                f"{self._name} has too little memory on {self._model.device} for one input "
                f"of {batch_tokens} tokens; give it a smaller pixel budget, or more memory"
            )
        self._budget = min(self._budget, batch_tokens // 2)
        self.timing.halved += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def plan_batches(buckets: Sequence[Bucket], budget: int) -> list[list[int]]:
    """Group inputs into batches.

    Returns:
        Indices of `buckets` in batches of one key, of at most `budget` tokens with their padding,
        the most expensive batch first, so that memory runs out at once or never.
    """
    order = sorted(range(len(buckets)), key=lambda i: (str(buckets[i].key), -buckets[i].tokens))
    grouped = groupby(order, key=lambda i: buckets[i].key)
    batches = [batch for _, group in grouped for batch in _split_run(list(group), buckets, budget)]
    return sorted(batches, key=lambda batch: -count_tokens([buckets[i] for i in batch]))


def count_tokens(batch: Sequence[Bucket]) -> int:
    """Count the tokens that a batch computes, with its padding."""
    return len(batch) * max(b.tokens for b in batch) + sum(b.extra_tokens for b in batch)


def default_worker_count() -> int:
    """Return how many threads prepare images: the cores of this process, at most 8."""
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)


def _split_run(order: Sequence[int], buckets: Sequence[Bucket], budget: int) -> Iterator[list[int]]:
    """Split `order`, whose tokens fall: the first input of a batch is its longest."""
    batch: list[int] = []
    used = extra_tokens = 0
    for index in order:
        bucket = buckets[index]
        computed = (buckets[batch[0]].tokens if batch else 0) * (len(batch) + 1)
        padding = computed - used - bucket.tokens
        is_full = computed + extra_tokens + bucket.extra_tokens > budget
        max_padding = max(FREE_PADDING_TOKENS, MAX_PADDING_RATIO * (computed + extra_tokens))
        if batch and (is_full or padding > max_padding):
            yield batch
            batch, used, extra_tokens = [], 0, 0
        batch.append(index)
        used, extra_tokens = used + bucket.tokens, extra_tokens + bucket.extra_tokens
    if batch:
        yield batch
