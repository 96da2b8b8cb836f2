"""Embeds the pictures of the next batch while this one is being written."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from embedder import Embedder, EmbedderError, Input, ModelCard, Role, UnavailableError, Vectors

Key: TypeAlias = tuple[int, ...]
"""A picture by where it lies in memory."""


@dataclass(frozen=True, slots=True)
class Prefetched:
    """A picture, kept so that its address stays its own, and its row in what is being embedded."""

    item: Input
    rows: Future[Vectors]
    row: int


class PrefetchEmbedder:
    """An embedder that is told what it will be asked for, and begins with it in a thread.

    A GPU would otherwise wait at every batch until the last has been written and the first pictures
    of the next are ready.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed-ahead")
        self._prefetched: deque[dict[Key, Prefetched]] = deque(
            maxlen=2
        )  # what is older is not asked for

    @property
    def card(self) -> ModelCard:
        return self._embedder.card

    def prefetch(self, inputs: Sequence[Input]) -> None:
        """Begin with `inputs`, documents with pictures, which `embed` will be asked for next."""
        rows = self._thread.submit(self._embedder.embed, inputs, "document") if inputs else None
        self._prefetched.append(
            {_key(i): Prefetched(i, rows, row) for row, i in enumerate(inputs) if rows is not None}
        )

    def embed(self, inputs: Sequence[Input], role: Role, instruction: str | None = None) -> Vectors:
        """As the embedder does; what was begun is waited for."""
        known = [one for item in inputs if (one := self._take(item)) is not None]
        if len(known) < len(inputs):
            return self._embedder.embed(inputs, role, instruction)
        try:
            return np.stack([one.rows.result()[one.row] for one in known])
        except UnavailableError:
            raise
        except EmbedderError:  # one of them is bad: the caller finds out which
            return self._embedder.embed(inputs, role, instruction)

    def _take(self, item: Input) -> Prefetched | None:
        for batch in self._prefetched:
            if item.images and _key(item) in batch:
                return batch.pop(_key(item))
        return None

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _key(item: Input) -> Key:
    return tuple(id(image) for image in item.images)
