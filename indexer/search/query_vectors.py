"""Embeds the parts of a query and combines them into one vector per channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder import Embedder, Input
from indexer.collections.schema import IMAGE, TEXT
from indexer.errors import QueryError
from indexer.search.bm25 import build_query_vector
from indexer.search.calibration import ScoreDistribution, estimate_distribution
from indexer.search.query_syntax import read_query_image
from indexer.stores.base import Store
from indexer.types import Part, SparseVector, Vector

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class EmbeddedPart:
    """A part with its unit vector, (dim,)."""

    part: Part
    vector: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVectors:
    """An embedded query: per channel a unit vector and its distribution, and a BM25 vector."""

    parts: tuple[EmbeddedPart, ...]
    vectors: Mapping[str, Vector]
    distributions: Mapping[str, ScoreDistribution]
    sparse: SparseVector
    query_ids: tuple[str, ...]  # points that the query is made from; they are not hits
    has_text: bool


def embed_query(
    parts: Sequence[Part],
    embedder: Callable[[], Embedder],
    store: Store,
    sample: Mapping[str, NDArray[np.float32]],
    instruction: str | None = None,
) -> QueryVectors:
    """Embed `parts` and combine them; raises `QueryError`, `EmbedderError`.

    A model that composes gets an image and the wanted texts as one input. Otherwise the vectors of
    the parts are added in each channel, weighted with weight / spread, so that a part's influence
    does not depend on how far its cosines spread.
    """
    embedded = _embed_parts(parts, embedder, store, instruction)
    vectors = {channel: _combine_vectors(embedded, sample[channel]) for channel in (IMAGE, TEXT)}
    return QueryVectors(
        parts=tuple(embedded),
        vectors=vectors,
        distributions={
            channel: estimate_distribution(sample[channel], vector)
            for channel, vector in vectors.items()
        },
        sparse=_build_sparse_vector(parts),
        query_ids=tuple(part.id for part in parts if part.id and part.weight > 0),
        has_text=any(part.text for part in parts),
    )


def _combine_vectors(parts: Sequence[EmbeddedPart], sample: NDArray[np.float32]) -> Vector:
    if len(parts) == 1 and parts[0].part.weight > 0:
        return parts[0].vector
    total = np.sum(
        [
            e.vector * (e.part.weight / estimate_distribution(sample, e.vector).spread)
            for e in parts
        ],
        axis=0,
    )
    norm = float(np.linalg.norm(total))
    if norm < 1e-6:
        raise QueryError("the parts of the query cancel each other out; change a weight")
    return np.asarray(total / norm, dtype=np.float32)


def _embed_parts(
    parts: Sequence[Part],
    embedder: Callable[[], Embedder],
    store: Store,
    instruction: str | None,
) -> list[EmbeddedPart]:
    if all(part.id for part in parts):
        return _load_stored_parts(parts, store)
    model = embedder()
    if model.card.composes:
        parts = _merge_image_and_text(_load_point_image(parts, store, model.card.image_side))
    new = [part for part in parts if not part.id]
    inputs = [Input(p.text, (p.image,) if p.image is not None else ()) for p in new]
    rows = model.embed(inputs, "query", instruction)  # (n, dim)
    embedded = [EmbeddedPart(part, row) for part, row in zip(new, rows, strict=True)]
    return _load_stored_parts(parts, store) + embedded


def _load_stored_parts(parts: Sequence[Part], store: Store) -> list[EmbeddedPart]:
    """The parts that are points of the collection; they need no model."""
    ids = [part.id for part in parts if part.id]
    stored = {r.id: r.vectors for r in store.retrieve(ids, vectors=True)} if ids else {}
    embedded = []
    for part in (p for p in parts if p.id):
        vectors = stored.get(part.id or "")
        if vectors is None:
            raise QueryError(f"the collection has no point {part.id}")
        vector = vectors.get(IMAGE, vectors.get(TEXT))
        embedded.append(EmbeddedPart(part, np.asarray(vector, dtype=np.float32)))
    return embedded


def _load_point_image(parts: Sequence[Part], store: Store, side: int) -> list[Part]:
    """Replace the first wanted point by its image, so that the model composes it with the text.

    Where its file cannot be read, the parts stay as they are, and their vectors are added.
    """
    out = list(parts)
    if any(part.image is not None and part.weight > 0 for part in parts):
        return out
    for index, part in enumerate(out):
        if part.id and part.weight > 0:
            image = _read_point_image(part.id, store, side)
            out[index] = part if image is None else replace(part, id=None, image=image)
            break
    return out


def _read_point_image(id: str, store: Store, side: int) -> Image | None:
    for record in store.retrieve([id]):
        for path in record.payload["paths"] if record.payload["kind"] == "image" else ():
            with suppress(QueryError):
                return read_query_image(Path(path), side)
    return None


def _merge_image_and_text(parts: Sequence[Part]) -> list[Part]:
    """Make one part of the image and all wanted texts; leave the other parts as they are."""
    image = next((p for p in parts if p.image is not None and p.weight > 0), None)
    texts = [p for p in parts if p.text and p.weight > 0]
    if image is None or not texts:
        return list(parts)
    text = ", ".join(p.text or "" for p in texts)
    both = Part(text, image.image, weight=image.weight, label=f"{image.label} + {text}")
    return [both, *(p for p in parts if p is not image and p not in texts)]


def _build_sparse_vector(parts: Sequence[Part]) -> SparseVector:
    """The BM25 vector of all wanted texts, each token with the weight of its part."""
    weights: dict[int, float] = {}
    for part in parts:
        if part.text and part.weight > 0:
            for index in build_query_vector(part.text).indices:
                weights[index] = max(weights.get(index, 0.0), min(part.weight, 1.0))
    indices = tuple(sorted(weights))
    return SparseVector(indices, tuple(weights[index] for index in indices))
