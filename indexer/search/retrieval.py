"""Embeds a query, retrieves candidates for each part in every channel, and ranks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedder import Embedder, Input
from indexer.collections.schema import BM25, IMAGE, NAME, TEXT
from indexer.errors import QueryError
from indexer.search.bm25 import build_query_vector
from indexer.search.calibration import CalibrationSample, ScoreDistribution
from indexer.search.composition import compose, drop_unwanted, is_shown
from indexer.search.fusion import PartFusion, Scores, fit_fusion
from indexer.search.query_examples import is_made_of_examples
from indexer.search.query_syntax import read_query_image
from indexer.search.tokenizer import list_content_words
from indexer.stores.base import Store
from indexer.types import Part, SparseVector, Vector

if TYPE_CHECKING:
    from qdrant_client import models


EmbeddedPart: TypeAlias = "tuple[Part, Vector]"
"""A part with its unit vector, (dim,)."""

Rows: TypeAlias = "NDArray[np.intp] | slice"

ChannelScores = dict[str, float]
"""Channel -> raw score: cosines, and BM25 in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPart:
    """An embedded part of a query, and how its scores are fused."""

    part: Part
    vector: Vector
    words: SparseVector  # for BM25; may be empty
    fusion: PartFusion

    @property
    def vectors(self) -> dict[str, Vector | SparseVector]:
        """What is looked for in each channel."""
        known = self.fusion.distributions
        channels = known if self.fusion.uses_text else known.keys() - {NAME}  # only images have one
        dense: dict[str, Vector | SparseVector] = dict.fromkeys(channels, self.vector)
        return {**dense, BM25: self.words} if self.words.indices else dense

    @property
    def is_image(self) -> bool:
        """Whether it is an image or a point; a model that composes adds words to one."""
        return self.part.image is not None or self.part.id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedQuery:
    """An embedded query; its parts are in the order in which they were given."""

    wanted: tuple[QueryPart, ...]
    unwanted: tuple[QueryPart, ...]
    excluded_ids: tuple[str, ...]  # points that the query is made from, with other parts


@dataclass(frozen=True, slots=True)
class PartEvidence:
    """What one part of a query finds in one point: a z, and the raw scores behind it."""

    z: float
    channel_scores: ChannelScores


@dataclass(frozen=True, slots=True)
class PartScores:
    """What one part finds in n points: raw scores, channel -> (n,), NaN for none; and z (n,)."""

    part: QueryPart
    channels: Mapping[str, Scores]
    z: Scores

    def select(self, rows: Rows) -> PartScores:
        """What it finds in some of the points."""
        scores = {name: values[rows] for name, values in self.channels.items()}
        return PartScores(self.part, scores, self.z[rows])

    def list_evidence(self) -> list[PartEvidence]:
        """The evidence of each point."""
        columns = [scores.tolist() for scores in self.channels.values()]
        return [
            PartEvidence(z, {n: s for n, s in zip(self.channels, row, strict=True) if not isnan(s)})
            for z, *row in zip(self.z.tolist(), *columns, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A candidate, ordered by `z`; `score` is the cosine that corresponds to it.

    `wanted` has the evidence of each wanted part of the query.
    """

    id: str
    z: float
    score: float
    wanted: tuple[PartEvidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """n candidates, best first; only those of a page are worth an object each.

    Attributes:
        ids: Of the points.
        z: (n,).
        scale: What makes a cosine of a z.
        wanted: What each wanted part finds in them.
        dropped: How many points each unwanted part has dropped.
    """

    ids: list[str]
    z: Scores
    scale: ScoreDistribution
    wanted: tuple[PartScores, ...]
    dropped: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: NDArray[np.intp]) -> Candidates:
        """Some of them, in the order of `rows`."""
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            z=self.z[rows],
            wanted=tuple(one.select(rows) for one in self.wanted),
        )

    def list_first(self, limit: int) -> list[Candidate]:
        """The best `limit` of them."""
        first = slice(limit)
        evidence = zip(*(one.select(first).list_evidence() for one in self.wanted), strict=True)
        return [
            Candidate(id=id, z=z, score=self.scale.score(z), wanted=of_parts)
            for id, z, of_parts in zip(
                self.ids[first], self.z[first].tolist(), evidence, strict=True
            )
        ]


def embed_query(
    parts: Sequence[Part],
    embedder: Callable[[], Embedder],
    store: Store,
    sample: CalibrationSample,
    instruction: str | None = None,
) -> EmbeddedQuery:
    """Embed `parts`, and fit the fusion of each; raises `QueryError`, `EmbedderError`.

    A model that composes gets an image and the wanted texts as one input.
    """
    embedded = []
    for part, vector in _embed_parts(parts, embedder, store, instruction):
        words = build_query_vector(part.text or "")
        fusion = fit_fusion(sample, vector, words, uses_text=bool(part.text))
        embedded.append(QueryPart(part=part, vector=vector, words=words, fusion=fusion))
    return EmbeddedQuery(
        wanted=tuple(one for one in embedded if one.part.weight > 0),
        unwanted=tuple(one for one in embedded if one.part.weight < 0),
        excluded_ids=()
        if is_made_of_examples(parts)
        else tuple(part.id for part in parts if part.id),
    )


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
    stored, embedded = iter(_load_stored_parts(parts, store)), zip(new, rows, strict=True)
    return [next(stored) if part.id else next(embedded) for part in parts]


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


def retrieve_candidates(
    store: Store, query: EmbeddedQuery, store_filter: models.Filter | None, limit: int
) -> Candidates:
    """Find the best `limit` of each wanted part in each channel, score them for all parts, and drop
    those that show what is unwanted. Takes one request."""
    ids, scored = _score_points(store, query.wanted, query.unwanted, store_filter, limit)
    wanted, unwanted = scored[: len(query.wanted)], scored[len(query.wanted) :]
    weights = [one.part.weight for one in query.wanted]
    are_images = [one.is_image for one in query.wanted]
    z = compose(np.stack([one.z for one in wanted]), weights, are_images)
    is_excluded = np.array([id in query.excluded_ids for id in ids], dtype=np.bool_)
    is_kept = np.isfinite(z) & ~is_excluded
    dropped = []
    for one in unwanted:
        with_image = one.part.is_image or any(are_images)
        shown_z, weight, best = _find_shown_z(one), -one.part.part.weight, _find_best_z(one)
        z, drop = drop_unwanted(z, shown_z, weight, best, with_image=with_image)
        dropped.append(int(np.count_nonzero(drop & is_kept)))
        is_kept &= ~drop
    whole = float(compose(np.ones((len(wanted), 1)), weights, are_images)[0])
    found = Candidates(
        ids=ids,
        z=z,
        scale=_make_scale(wanted, whole),
        wanted=tuple(wanted),
        dropped=tuple(dropped),
    )
    order = np.argsort(-z, kind="stable")
    return found.select(order[is_kept[order]])


def find_unwanted(
    store: Store, query: EmbeddedQuery, store_filter: models.Filter | None, limit: int
) -> list[str]:
    """The ids of the points that show what is unwanted; at most `limit` for each part and channel.

    Takes one request.
    """
    ids, scored = _score_points(store, query.unwanted, (), store_filter, limit)
    shown = [
        is_shown(_find_shown_z(one), -one.part.part.weight, _find_best_z(one)) for one in scored
    ]
    found = {ids[row] for row in np.flatnonzero(np.any(shown, axis=0))} if ids else set()
    return sorted(found | set(query.excluded_ids))


def _score_points(
    store: Store,
    parts: Sequence[QueryPart],
    rescored: Sequence[QueryPart],
    store_filter: models.Filter | None,
    limit: int,
) -> tuple[list[str], list[PartScores]]:
    """The ids of the best `limit` of each of `parts` in each channel, in order, and their scores by
    `parts` and by `rescored`."""
    requests, more = (
        [
            _build_request(vector, channel, store_filter, limit)
            for one in some
            for channel, vector in one.vectors.items()
        ]
        for some in (parts, rescored)
    )
    answers = iter(store.query_union(requests, more))
    found = [{name: next(answers) for name in one.vectors} for one in (*parts, *rescored)]
    ids = sorted({p.id for channels in found for points in channels.values() for p in points})
    rows = {id: row for row, id in enumerate(ids)}
    scored = []
    for one, channels in zip((*parts, *rescored), found, strict=True):
        scores = {name: np.full(len(ids), np.nan) for name in channels}
        for name, points in channels.items():
            scores[name][[rows[p.id] for p in points]] = [p.score for p in points]
        scored.append(PartScores(one, scores, one.fusion.fuse(scores)))
    return ids, scored


def _build_request(
    vector: Vector | SparseVector, channel: str, store_filter: models.Filter | None, limit: int
) -> models.QueryRequest:
    from qdrant_client import models

    if isinstance(vector, SparseVector):
        sparse = models.SparseVector(indices=[*vector.indices], values=[*vector.values])
    return models.QueryRequest.model_construct(
        query=sparse if isinstance(vector, SparseVector) else vector.tolist(),
        using=channel,
        filter=store_filter,
        limit=limit,
    )


def _find_shown_z(scored: PartScores) -> Scores:
    """The z (n,) of an unwanted part; inf where it is a single word, and that word is written."""
    part = scored.part.part
    is_word = part.weight <= -1 and len(list_content_words(part.text or "")) == 1
    if not is_word or BM25 not in scored.channels:
        return scored.z
    return np.where(np.nan_to_num(scored.channels[BM25]) > 0, np.inf, scored.z)


def _find_best_z(scored: PartScores) -> float:
    """The highest z of a part among the candidates and the sample; 0 for an image, whose nearest
    points are copies of it."""
    if scored.part.is_image:
        return 0.0
    return float(max(scored.z.max(initial=0.0), scored.part.fusion.sample_z.max(initial=0.0)))


def _make_scale(wanted: Sequence[PartScores], whole: float) -> ScoreDistribution:
    """How a composed z becomes the cosine that is shown: that of images, or of texts if only texts
    were found; with several parts, their mean. `whole` is the composed z where all have z 1."""
    has_images = any(not np.isnan(one.channels[IMAGE]).all() for one in wanted)
    known = [one.part.fusion.distributions[IMAGE if has_images else TEXT] for one in wanted]
    medians, spreads = zip(*((d.median, d.spread) for d in known), strict=True)
    return ScoreDistribution(float(np.mean(medians)), float(np.mean(spreads)) / whole)
