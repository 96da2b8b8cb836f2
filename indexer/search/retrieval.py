"""Embeds a query, retrieves candidates from every channel, and fuses their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedder import Embedder, Input
from indexer.collections.schema import BM25, IMAGE, TEXT
from indexer.errors import QueryError
from indexer.search.bm25 import build_query_vector, to_sparse_vector
from indexer.search.calibration import (
    ScoreDistribution,
    bm25_to_z,
    combine,
    estimate_distribution,
)
from indexer.search.query_examples import is_made_of_examples
from indexer.search.query_syntax import read_query_image
from indexer.stores.base import Store
from indexer.types import Part, SparseVector, Vector

if TYPE_CHECKING:
    from qdrant_client import models


EmbeddedPart: TypeAlias = "tuple[Part, Vector]"
"""A part with its unit vector, (dim,)."""

ChannelScores = dict[str, float]
"""Channel -> raw score: cosines, and BM25 in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVectors:
    """An embedded query: per channel a unit vector and its distribution, and a BM25 vector."""

    parts: tuple[EmbeddedPart, ...]
    vectors: Mapping[str, Vector]
    distributions: Mapping[str, ScoreDistribution]
    sparse: SparseVector
    excluded_ids: tuple[str, ...]  # points that the query is made from, with other parts
    has_text: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate, ordered by `z`; `score` is the cosine that corresponds to it."""

    id: str
    z: float
    score: float
    channel_scores: ChannelScores


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
        excluded_ids=()
        if is_made_of_examples(parts)
        else tuple(part.id for part in parts if part.id and part.weight > 0),
        has_text=any(part.text for part in parts),
    )


def _combine_vectors(parts: Sequence[EmbeddedPart], sample: NDArray[np.float32]) -> Vector:
    if len(parts) == 1 and parts[0][0].weight > 0:
        return parts[0][1]
    influences = [
        vector * (part.weight / estimate_distribution(sample, vector).spread)
        for part, vector in parts
    ]
    total = np.sum(influences, axis=0)
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
    return [*_load_stored_parts(parts, store), *zip(new, rows, strict=True)]


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
        embedded.append((part, np.asarray(vector, dtype=np.float32)))
    return embedded


def _load_point_image(parts: Sequence[Part], store: Store, side: int) -> Sequence[Part]:
    """Replace the first wanted point by its image, so that the model composes it with the text.

    Where its file cannot be read, the parts stay as they are, and their vectors are added.
    """
    wanted = [part for part in parts if part.weight > 0]
    point = next((part for part in wanted if part.id), None)
    if point is None or any(part.image is not None for part in wanted):
        return parts
    for record in store.retrieve([point.id or ""]):
        for path in record.payload["paths"] if record.payload["kind"] == "image" else ():
            with suppress(QueryError):
                with_image = replace(point, id=None, image=read_query_image(Path(path), side))
                return [with_image if part is point else part for part in parts]
    return parts


def _merge_image_and_text(parts: Sequence[Part]) -> Sequence[Part]:
    """Make one part of the image and all wanted texts; leave the other parts as they are."""
    image = next((p for p in parts if p.image is not None and p.weight > 0), None)
    texts = [p for p in parts if p.text and p.weight > 0]
    if image is None or not texts:
        return parts
    text = ", ".join(p.text or "" for p in texts)
    both = replace(image, text=text, label=f"{image.label} + {text}")
    return [both, *(p for p in parts if p is not image and p not in texts)]


def _build_sparse_vector(parts: Sequence[Part]) -> SparseVector:
    """The BM25 vector of all wanted texts, each token with the weight of its part."""
    weights: dict[int, float] = {}
    for part in parts:
        if part.text and part.weight > 0:
            for index, value in zip(*build_query_vector(part.text), strict=True):
                weights[index] = max(weights.get(index, 0.0), value * min(part.weight, 1.0))
    return to_sparse_vector(weights)


def retrieve_candidates(
    store: Store, query: QueryVectors, store_filter: models.Filter | None, limit: int
) -> list[Candidate]:
    """Find the best `limit` of each channel, score them in all channels, and fuse the scores."""
    from qdrant_client import models

    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in query.vectors.items()}
    if query.sparse.indices:
        sparse = query.sparse
        vectors[BM25] = models.SparseVector(indices=[*sparse.indices], values=[*sparse.values])
    requests = [
        models.QueryRequest.model_construct(
            query=vector, using=channel, filter=store_filter, limit=limit
        )
        for channel, vector in vectors.items()
    ]
    found: dict[str, ChannelScores] = {}
    for channel, points in zip(vectors, store.query_union(requests), strict=True):
        for point in points:
            found.setdefault(point.id, {})[channel] = point.score
    # the channel whose cosines are shown: images, or texts where no image was found
    shown = IMAGE if any(IMAGE in scores for scores in found.values()) else TEXT
    candidates = [
        _score_candidate(id, scores, query, shown)
        for id, scores in found.items()
        if id not in query.excluded_ids
    ]
    return sorted(candidates, key=lambda c: (-c.z, c.id))


def _score_candidate(id: str, scores: ChannelScores, query: QueryVectors, shown: str) -> Candidate:
    distributions = query.distributions
    z = {name: known.z(scores[name]) for name, known in distributions.items() if name in scores}
    image_z, text_z = z.get(IMAGE), z.get(TEXT)
    if BM25 in scores:  # the higher one, as both see the same text
        text_z = max(bm25_to_z(scores[BM25]), text_z or 0.0)
    if image_z is not None and not query.has_text:
        text_z = None
    fused = combine(image_z, text_z)
    is_exact = z.get(shown) == fused
    score = scores[shown] if is_exact else distributions[shown].score(fused)
    return Candidate(id, fused, score, scores)
