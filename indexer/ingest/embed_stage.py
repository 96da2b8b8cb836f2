"""Embed stage: the only place where an ingest embeds, in one thread.

The model works on one batch while the one before it is written and the next is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias, TypeVar

import numpy as np

from embedder import Embedder, EmbedderError, Input, UnavailableError
from indexer.collections.schema import IMAGE, NAME, TEXT
from indexer.errors import IndexerError, MissingExtraError
from indexer.ingest.types import PointWrite, StageTimer
from indexer.types import Vector

T = TypeVar("T")
MAX_CACHED_NAMES = 4096  # of folders, and of series of files: they recur
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
        self._names: dict[str, Vector] = {}  # embedded before
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")

    def submit(self, writes: Sequence[PointWrite]) -> Future[list[PointVectors | EmbedFailedError]]:
        """Start embedding; the result has the vectors of each point, or why there are none.

        The result raises `IndexerError` where the model cannot be reached.
        """
        if any(write.images or write.texts or write.names for write in writes):
            return self._thread.submit(self._embed, list(writes))
        self._timer.add("embed", 0.0)  # the report names the stage
        done: Future[list[PointVectors | EmbedFailedError]] = Future()
        done.set_result([_combine(write, None, {}) for write in writes])
        return done

    def __enter__(self) -> EmbedStage:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _embed(self, writes: list[PointWrite]) -> list[PointVectors | EmbedFailedError]:
        """Images and texts apart: a batch of one kind wastes nothing on padding. Each text once."""
        with_images = [i for i, write in enumerate(writes) if write.images]
        known = {text: row for write in writes for text, row in write.text_vectors.items()}
        known |= self._names
        wanted = dict.fromkeys(text for write in writes for text in (*write.texts, *write.names))
        texts = [text for text in wanted if text not in known]
        with self._timer("embed"):
            images = self._embed_inputs(
                with_images, [Input(images=writes[i].images) for i in with_images]
            )
            rows = {**known, **self._embed_inputs(texts, [Input(text=text) for text in texts])}
        names = {name for write in writes for name in write.names}
        if len(self._names) > MAX_CACHED_NAMES:
            self._names.clear()
        self._names |= {n: row for n in names if not isinstance(row := rows[n], EmbedFailedError)}
        return [_combine(write, images.get(i), rows) for i, write in enumerate(writes)]

    def _embed_inputs(
        self, keys: Sequence[T], inputs: Sequence[Input]
    ) -> dict[T, Vector | EmbedFailedError]:
        return dict(zip(keys, embed_each(self._embedder, inputs, self._batch_size), strict=True))


def _combine(
    write: PointWrite,
    image: Vector | EmbedFailedError | None,
    rows: Mapping[str, Vector | EmbedFailedError],
) -> PointVectors | EmbedFailedError:
    """The vectors of one point; `rows` are those of texts. A name that the model cannot embed is
    left out."""
    vectors: PointVectors = {}
    try:
        image = write.image_vector if image is None else image
        if image is not None:
            vectors[IMAGE] = mean_vector([require_vector(image)])
        if write.texts:
            vectors[TEXT] = mean_vector([require_vector(rows[text]) for text in write.texts])
    except EmbedFailedError as error:
        return error
    names = [row for name in write.names if not isinstance(row := rows[name], EmbedFailedError)]
    return {**vectors, NAME: mean_vector(names)} if names else vectors


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
    parts = [_split_images(item, embedder.card.max_images) for item in inputs]
    flat = [part for item_parts in parts for part in item_parts]
    outputs: list[Vector | EmbedFailedError] = []
    for start in range(0, len(flat), batch_size):
        outputs += _embed_batch(embedder, flat[start : start + batch_size])
    rows = iter(outputs)
    return [_join([next(rows) for _ in item_parts]) for item_parts in parts]


def _split_images(item: Input, max_images: int) -> list[Input]:
    """The frames of an animation apart, if the model cannot take them together."""
    if not 0 < max_images < len(item.images):
        return [item]
    return [replace(item, images=(image,)) for image in item.images]


def _join(outputs: list[Vector | EmbedFailedError]) -> Vector | EmbedFailedError:
    failed = [output for output in outputs if isinstance(output, EmbedFailedError)]
    if failed or len(outputs) == 1:
        return (failed or outputs)[0]
    return mean_vector([require_vector(output) for output in outputs])


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
