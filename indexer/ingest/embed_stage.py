"""Embeds a batch so that one bad input costs that input alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedder import Embedder, EmbedderError, Input, UnavailableError
from indexer.errors import IndexerError
from indexer.types import Vector


class EmbedFailedError(Exception):
    """The model could not embed this input; the message says why."""


def embed_each(
    embedder: Embedder, inputs: Sequence[Input], batch_size: int
) -> list[Vector | EmbedFailedError]:
    """One (dim,) unit vector for each input, or what went wrong with it; `size` at a time."""
    out: list[Vector | EmbedFailedError] = []
    for start in range(0, len(inputs), batch_size):
        out += _embed_batch(embedder, inputs[start : start + batch_size])
    return out


def _embed_batch(embedder: Embedder, batch: Sequence[Input]) -> Sequence[Vector | EmbedFailedError]:
    try:
        rows = embedder.embed(batch, "document")
    except UnavailableError as error:  # no fault of the files in hand: end the run
        raise IndexerError(str(error)) from error
    except EmbedderError as error:
        if len(batch) == 1:
            return [EmbedFailedError(str(error))]
        return [out for item in batch for out in _embed_batch(embedder, [item])]
    return [row if np.isfinite(row).all() else _not_finite_error() for row in rows]


def _not_finite_error() -> EmbedFailedError:
    return EmbedFailedError("the model gave numbers that are not finite")


def mean_vector(vectors: Sequence[Vector]) -> Vector:
    """The direction of the mean of unit vectors, (dim,); the first one where they cancel out."""
    total = np.sum(vectors, axis=0)
    norm = float(np.linalg.norm(total))
    return np.asarray(total / norm if norm > 1e-6 else vectors[0], dtype=np.float32)
