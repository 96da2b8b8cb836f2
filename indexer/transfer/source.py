"""Where points come from, and whether a copy equals them: counts, and a sample of the points.

A source is a collection, or a file that `indexer snapshot` wrote (`indexer.transfer.restore`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from embedder.redaction import redact_secrets
from embedder.types import ModelCard
from indexer.collections import CollectionBackend, open_backend
from indexer.collections.collection import OpenCollection
from indexer.collections.model import forget_model
from indexer.collections.schema import TextIndexing
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.stores.base import Store, sample_records
from indexer.transfer.local_state import LocalState
from indexer.types import Record, SparseVector, Vector

PAGE_SIZE = 256  # points read, written and acknowledged at a time
SAMPLE_SIZE = 256  # points compared
# 16 bits per value, as in the embedded store and in float16 on a server, change a cosine by less
# than 1e-6; a chord of 0.0141 between unit vectors is a cosine of 0.9999.
MAX_CHORD = 0.0141


class Page(NamedTuple):
    """Some points, and where the next page begins (None at the end)."""

    records: list[Record]
    next_id: str | None


@dataclass(frozen=True, slots=True)
class PointCounts:
    """The number of points, in all and of each kind."""

    points: int
    kinds: dict[str, int] = field(default_factory=dict)


class PointSource(Protocol):
    """Points in a fixed order, and the local state that belongs to them."""

    label: str  # for messages
    card: ModelCard
    texts: TextIndexing
    identity: str  # changes when the points change
    ingested: str | None
    local_state: LocalState
    counts: PointCounts

    def iter_pages(self, after: str | None = None) -> Iterator[Page]:
        """All pages, or those from `after` on; with vectors."""
        ...

    def sample(self) -> list[Record]:
        """About `SAMPLE_SIZE` points, drawn at random; with vectors."""
        ...

    def is_unchanged(self) -> bool:
        """Whether the points are still the same as when the source was opened."""
        return True


class CollectionSource(PointSource):
    """The active index of an open collection."""

    def __init__(self, backend: CollectionBackend, collection: OpenCollection, label: str) -> None:
        index = collection.active_index
        self.label, self.card, self.ingested = label, index.card, index.ingested
        self.texts = index.texts
        self.local_state = LocalState(collection.path, collection.index_dir)
        self.counts = count_points(collection.store)
        self._backend, self._collection = backend, collection
        parts = (collection.name, index.key, index.created, index.ingested, collection.tenant)
        self.identity = " ".join(map(str, (*parts, self.counts.points)))

    def iter_pages(self, after: str | None = None) -> Iterator[Page]:
        store = self._collection.store
        while True:
            page = Page(*store.scroll(limit=PAGE_SIZE, after=after, vectors=True))
            yield page
            after = page.next_id
            if after is None:
                return

    def sample(self) -> list[Record]:
        return sample_records(self._collection.store, SAMPLE_SIZE)

    def is_unchanged(self) -> bool:
        """Another machine may have written to a collection on a server."""
        opened = self._collection.active_index
        index = self._backend.get_indexes(self._collection.name).in_use
        is_same = (index.key, index.ingested) == (opened.key, opened.ingested)
        return is_same and count_points(self._collection.store) == self.counts


@contextmanager
def open_source_collection(config: Config) -> Iterator[CollectionSource]:
    """Open the collection that `config` names, whatever its model, and keep others from
    writing to it.

    Raises `CollectionError`, `StoreBusyError`.
    """
    config = forget_model(config)
    backend, label = open_backend(config), format_location(config)
    index = backend.get_indexes(config.collection).in_use
    with OpenCollection.open_index(config, backend, index) as collection:
        if config.tenant and not collection.store.count():
            raise CollectionError(f"tenant {config.tenant!r} has no points in {label}")
        with collection.exclude_writers():
            yield CollectionSource(backend, collection, label)


def count_points(store: Store) -> PointCounts:
    return PointCounts(store.count(), dict(store.facet("kind", limit=100)))


def format_location(config: Config) -> str:
    """'family' in /home/ada/polylens"""
    return f"{config.collection!r} in {redact_secrets(config.store)}"


def describe_difference(
    expected: PointCounts, actual: PointCounts, sample: Sequence[Record], store: Store
) -> str | None:
    """Describe the first difference of the counts, or of the `sample` and the same points of
    `store`; None where there is none."""
    if expected.points != actual.points:
        return f"{expected.points:,} points were expected, and {actual.points:,} were found"
    for kind in sorted({*expected.kinds, *actual.kinds}):
        one, two = expected.kinds.get(kind, 0), actual.kinds.get(kind, 0)
        if one != two:
            return f"{one:,} points of kind {kind!r} were expected, and {two:,} were found"
    copies = {r.id: r for r in store.retrieve([r.id for r in sample], vectors=True)}
    for record in sample:
        copy = copies.get(record.id)
        reason = "is missing" if copy is None else _describe_point_difference(record, copy)
        if reason:
            return f"point {record.id} {reason}"
    return None


def _describe_point_difference(one: Record, two: Record) -> str | None:
    if one.payload != two.payload:
        keys = sorted({*one.payload, *two.payload})
        changed = [key for key in keys if one.payload.get(key) != two.payload.get(key)]
        return f"has another payload ({', '.join(changed)})"
    if set(one.vectors) != set(two.vectors):
        return f"has vectors {sorted(two.vectors)} instead of {sorted(one.vectors)}"
    for name, vector in one.vectors.items():
        if not _vectors_match(vector, two.vectors[name]):
            return f"has another {name} vector"
    return None


def _vectors_match(one: Vector | SparseVector, two: Vector | SparseVector) -> bool:
    if isinstance(one, SparseVector) and isinstance(two, SparseVector):
        return _to_dict(one) == _to_dict(two)
    if isinstance(one, SparseVector) or isinstance(two, SparseVector) or one.shape != two.shape:
        return False
    return float(np.linalg.norm(_normalize(one) - _normalize(two))) <= MAX_CHORD


def _to_dict(vector: SparseVector) -> dict[int, np.float32]:
    return {i: np.float32(v) for i, v in zip(vector.indices, vector.values, strict=True)}


def _normalize(vector: Vector) -> Vector:
    wide = np.asarray(vector, np.float32)
    return wide / max(float(np.linalg.norm(wide)), 1e-12)
