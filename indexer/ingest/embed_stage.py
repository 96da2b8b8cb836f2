"""Embed stage: the only place where an ingest embeds, in one thread.

The model works on one batch while the one before it is written and the next is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np

from embedder import Embedder, EmbedderError, Input, UnavailableError
from indexer.collections.schema import IMAGE, TEXT
from indexer.errors import IndexerError, MissingExtraError
from indexer.ingest.types import PointWrite, StageTimer
from indexer.types import Vector

PointVectors: TypeAlias = "dict[str, Vector]"
"""The dense vectors of one point by name."""


class EmbedFailedError(Exception):
    """The model could not embed an input; the message says why."""


class EmbedStage:
    """Embeds the points of one batch after another; a failing input costs its own point alone.

    Use as a context manager.
    """

    def __init__(
        self, embedder: Embedder, batch_size: int, timer: StageTimer | None = None
    ) -> None:
        self._embedder, self._batch_size = embedder, batch_size
        self._timer = timer or StageTimer()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")

    def submit(self, writes: Sequence[PointWrite]) -> Future[list[PointVectors | EmbedFailedError]]:
        """Start embedding; the result has the vectors of each point, or why there are none.

        The result raises `IndexerError` where the model cannot be reached.
        """
        if any(write.images or write.texts for write in writes):
            return self._thread.submit(self._embed, list(writes))
        self._timer.add("embed", 0.0)  # the report names the stage
        done: Future[list[PointVectors | EmbedFailedError]] = Future()
        done.set_result([_combine(write, i, {}) for i, write in enumerate(writes)])
        return done

    def __enter__(self) -> EmbedStage:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _embed(self, writes: list[PointWrite]) -> list[PointVectors | EmbedFailedError]:
        """Images and texts apart: a batch of one kind wastes nothing on padding."""
        images = [(i, None, Input(images=w.images)) for i, w in enumerate(writes) if w.images]
        texts = [
            (i, text, Input(text=text))
            for i, write in enumerate(writes)
            for text in write.texts
            if text not in write.text_vectors
        ]
        outputs: dict[tuple[int, str | None], Vector | EmbedFailedError] = {}
        with self._timer("embed"):
            for wanted in (images, texts):
                inputs = [item for _, _, item in wanted]
                rows = embed_each(self._embedder, inputs, self._batch_size)
                for (index, text, _), row in zip(wanted, rows, strict=True):
                    outputs[index, text] = row
        return [_combine(write, index, outputs) for index, write in enumerate(writes)]


def _combine(
    write: PointWrite,
    index: int,
    outputs: Mapping[tuple[int, str | None], Vector | EmbedFailedError],
) -> PointVectors | EmbedFailedError:
    """The vectors of one point: those that it came with, and those that were embedded."""
    rows: dict[str, list[Vector | EmbedFailedError]] = {}
    if write.images:
        rows[IMAGE] = [outputs[index, None]]
    elif write.image_vector is not None:
        rows[IMAGE] = [write.image_vector]
    if write.texts:
        given = write.text_vectors
        rows[TEXT] = [given[t] if t in given else outputs[index, t] for t in write.texts]
    try:
        return {name: mean_vector([require_vector(r) for r in row]) for name, row in rows.items()}
    except EmbedFailedError as error:
        return error


def require_vector(output: Vector | EmbedFailedError) -> Vector:
    """The vector that `embed_each` returned for an input; raises `EmbedFailedError`."""
    if isinstance(output, EmbedFailedError):
        raise output
    return output


def embed_each(
    embedder: Embedder, inputs: Sequence[Input], batch_size: int
) -> list[Vector | EmbedFailedError]:
    """Embed documents so that one bad input costs that input alone.

    Returns:
        One (dim,) float32 vector of norm 1 for each input, or what went wrong with it.

    Raises:
        IndexerError: The model cannot be reached: this is not the fault of an input.
        MissingExtraError: The packages that it needs are not installed.
    """
    outputs: list[Vector | EmbedFailedError] = []
    for start in range(0, len(inputs), batch_size):
        outputs += _embed_batch(embedder, inputs[start : start + batch_size])
    return outputs


def _embed_batch(embedder: Embedder, batch: Sequence[Input]) -> Sequence[Vector | EmbedFailedError]:
    try:
        rows = embedder.embed(batch, "document")
    except MissingExtraError:
        raise
    except UnavailableError as error:
        raise IndexerError(str(error)) from error
    except EmbedderError as error:
        if len(batch) == 1:
            return [EmbedFailedError(str(error))]
        return [output for item in batch for output in _embed_batch(embedder, [item])]
    failed = EmbedFailedError("the model returned values that are not finite")
    return [row if np.isfinite(row).all() else failed for row in rows]


def mean_vector(vectors: Sequence[Vector]) -> Vector:
    """The direction of the mean of unit vectors, (dim,); the first one where they cancel out."""
    total = np.sum(vectors, axis=0)
    norm = float(np.linalg.norm(total))
    return np.asarray(total / norm if norm > 1e-6 else vectors[0], dtype=np.float32)
