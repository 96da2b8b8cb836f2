"""Reranks: a model that reads the query and a hit together puts the best hits in its order.

The search finds and judges; the reranker orders. It scores the first `depth` hits, among which its
order is the final one, and the rest follows in the order of the search. Strengths, and whether
anything matches, stay those of the search: they are calibrated against the collection, and a
reranker's score is not. What a query does not want is a rule of the search; the reranker reads the
wanted parts.

A hit is its text or image, and an image's captions. An image is read from its file, where that is
on this machine, else its thumbnail is taken. A hit of which the model can read nothing keeps its
place: for a model that reads only texts, an image without a caption. The hit that the query is made
from stays first.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL.Image import Image

from embedder import EmbedderError, Input, Reranker, Settings, load_reranker
from indexer.config import Config
from indexer.errors import QueryError
from indexer.search.query_syntax import read_query_image
from indexer.search.searcher import Searcher
from indexer.types import Hit, Payload, Query, RerankExplanation, Reranking, SearchResults

ReadImage = Callable[[str, Payload, int], "Image | None"]
"""Reads the image of a point, given its id, its payload, and the shorter side in pixels that the
model uses; None where there is none."""

READERS = 8  # threads that read images
MAX_CHUNK_PIXELS = 1 << 27  # of the images in memory at once: 400 MB
MAX_SCORES = 5_000  # that are kept, for the next pages of a query
MAX_TEXT = 8_000  # characters of a hit


def load_configured_reranker(config: Config, name: str) -> Reranker:
    """Load the reranker `name` with the settings; raises `EmbedderError`."""
    settings = Settings(
        device=config.device,
        dtype=config.dtype,
        pixel_budget=config.reranker_pixel_budget,
        trust_remote_code=config.trust_remote_code,
    )
    return load_reranker(name, settings)


def can_rerank(query: Query) -> bool:
    """Whether the order of the hits is one that a reranker may change: the best ones first."""
    asks = any(part.weight > 0 for part in query.parts)
    return asks and query.sort == "strength" and not query.diversity and query.limit > 0


@dataclass(slots=True)
class HitReranker:
    """Searches, and has a model put the best hits in order. Thread-safe.

    Attributes:
        name: Of the model.
        load: Returns the model, loaded.
        depth: How many hits it scores.
    """

    name: str
    load: Callable[[], Reranker]
    depth: int
    _scores: OrderedDict[tuple[str, str, str], float] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def search(self, searcher: Searcher, query: Query, read_image: ReadImage) -> SearchResults:
        """Find one page of hits, as `Searcher.search`; the pages of a query agree.

        Raises what `Searcher.search` raises, and `EmbedderError` for a reranker that fails. A query
        that it cannot read is none: the results have a note.
        """
        if not can_rerank(query):
            return searcher.search(query)
        first = searcher.search(replace(query, offset=0, limit=self.depth))
        hits, reranking = self._rerank(searcher, query, first.hits, read_image)
        end, took_ms, has_more = query.offset + query.limit, first.took_ms, first.has_more
        if has_more and end > len(hits):
            deeper = searcher.search(replace(query, offset=0, limit=end))
            shown = {id for hit in hits for id in (hit.id, *hit.duplicates)}
            hits += [hit for hit in deeper.hits if hit.id not in shown]
            took_ms, has_more = took_ms + deeper.took_ms, deeper.has_more
        return replace(
            first,
            hits=tuple(hits[query.offset : end]),
            took_ms=round(took_ms, 2),
            has_more=has_more or len(hits) > end,
            hint="" if query.offset else first.hint,
            reranking=reranking,
        )

    def _rerank(
        self, searcher: Searcher, query: Query, hits: Sequence[Hit], read_image: ReadImage
    ) -> tuple[list[Hit], Reranking | None]:
        model = self.load()
        start = time.perf_counter()
        side = model.card.image_side
        asked = _make_query(query, searcher, read_image, side)
        try:
            model.check_query(asked)
        except EmbedderError as error:
            note = f"The hits are in the order of the search: {error}"
            return list(hits), Reranking(model=model.card.name, note=note)
        kept = sum(hit.query_match == "same" for hit in hits)  # they are the first
        rest = hits[kept:]

        def make_candidate(hit: Hit) -> Input:
            text = _find_text(hit.payload)
            needs_image = model.card.reads_images and hit.payload["kind"] == "image"
            image = read_image(hit.id, hit.payload, side) if needs_image else None
            return Input(text, (image,) if image is not None else ())

        query_key = _hash_query(asked, query.instruction)
        keys = [(query_key, hit.id, _find_text(hit.payload) or "") for hit in rest]
        found = [self._scores.get(key) for key in keys]
        if None in found:
            waiting = time.perf_counter()
            with self._lock:  # one search has images in memory, and none scores what another has
                start += time.perf_counter() - waiting
                found = [self._scores.get(key) for key in keys]
                new = [row for row, score in enumerate(found) if score is None]
                # an image is reduced to less than twice the side; some are longer
                fitting = max(1, MAX_CHUNK_PIXELS // (2 * side) ** 2)
                size = fitting if model.card.reads_images else len(keys)
                for first in range(0, len(new), size):
                    chunk = new[first : first + size]
                    with ThreadPoolExecutor(READERS, thread_name_prefix="candidate") as pool:
                        candidates = list(pool.map(make_candidate, [rest[row] for row in chunk]))
                    computed = model.score(asked, candidates, query.instruction).tolist()
                    for row, score in zip(chunk, computed, strict=True):
                        found[row] = self._scores[keys[row]] = score
                while len(self._scores) > MAX_SCORES:
                    self._scores.popitem(last=False)
        scores = np.array(found, dtype=np.float64)
        explained = [
            _explain(hit, place, score)
            for place, (hit, score) in enumerate(zip(rest, scores, strict=True), kept + 1)
        ]
        ordered = [explained[row] for row in order_by_score(scores)]
        return [*hits[:kept], *ordered], Reranking(
            model=model.card.name,
            scored=int(np.isfinite(scores).sum()),
            seen=len(rest),
            took_ms=round((time.perf_counter() - start) * 1e3, 2),
        )


def order_by_score(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Order n hits so that those with a score share their places by it; ties keep their order.

    Args:
        scores: (n,); NaN for a hit that stays in its place.

    Returns:
        (n,): the former places of the hits.
    """
    order = np.arange(len(scores))
    scored = np.flatnonzero(np.isfinite(scores))
    order[scored] = scored[np.argsort(-scores[scored], kind="stable")]
    return order


def _explain(hit: Hit, place: int, score: float) -> Hit:
    given = None if math.isnan(score) else float(f"{score:.6g}")
    rerank = RerankExplanation(place=place, score=given)
    return replace(hit, explanation=replace(hit.explanation, rerank=rerank))


def _make_query(query: Query, searcher: Searcher, read_image: ReadImage, side: int) -> Input:
    """The wanted parts as one input: their texts, and their images; empty if a point is gone."""
    texts: list[str] = []
    images: list[Image] = []
    for part in query.parts:
        if part.weight <= 0:
            continue
        texts += [part.text] if part.text else []
        images += [_read_part(part.image, part.source, side)] if part.image is not None else []
        for record in searcher.collection.store.retrieve([part.id]) if part.id else ():
            payload = record.payload
            is_image = payload["kind"] == "image"
            image = read_image(record.id, payload, side) if is_image else None
            images += [image] if image is not None else []
            text = None if image is not None else _find_text(payload)
            texts += [text] if text else []
    return Input(", ".join(texts) or None, tuple(images))


def _read_part(image: Image, source: Path | Image | None, side: int) -> Image:
    """The image of a part with as many pixels as the reranker uses, where there are more."""
    with suppress(QueryError):  # it was deleted in the meantime
        return read_query_image(source or image, side)
    return image


def _find_text(payload: Payload) -> str | None:
    """A text, or the captions of an image."""
    if payload["kind"] == "text":
        return str(payload["text"])[:MAX_TEXT]
    captions = [str(caption["text"]) for caption in payload.get("captions") or ()]
    return "\n".join(captions)[:MAX_TEXT] or None


def _hash_query(query: Input, instruction: str | None) -> str:
    hasher = blake3(repr((query.text, instruction)).encode("utf-8", "surrogatepass"))
    for image in query.images:
        hasher.update(repr(image.size).encode())
        hasher.update(image.tobytes())
    return hasher.hexdigest(16)
