"""The embedded store: one file tree on this disk, searched whole, and how far that goes."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.planning import constants as of
from indexer.planning.storage import (
    CollectionLoad,
    facet_index_bytes,
    lookup_index_bytes,
    sparse_vector_bytes,
)


@dataclass(frozen=True, slots=True)
class EmbeddedStoreSize:
    """Bytes, and ms of a search at the median. `limit` is the most points at this length of
    vectors for which a search stays within 100 ms."""

    disk: float
    ram: float
    search_ms: float
    limit: int
    fits: bool


def size_embedded_store(load: CollectionLoad) -> EmbeddedStoreSize:
    vector_bytes = load.slots * load.dim * of.EMBEDDED_BYTES_PER_VALUE
    index_bytes = sparse_vector_bytes(load) + facet_index_bytes(load) + lookup_index_bytes(load)
    search_time_ms = estimate_search_ms(load.points * load.dim)
    return EmbeddedStoreSize(
        disk=vector_bytes + load.payload + index_bytes + of.EMBEDDED_WAL_BYTES,
        ram=float(vector_bytes + index_bytes),
        search_ms=search_time_ms,
        limit=max_points(load.dim),
        fits=load.points <= max_points(load.dim),
    )


def estimate_search_ms(values: float) -> float:
    """A line through the two larger measurements of docs/benchmarks.md: a scan reads everything,
    so that its time grows as points x dim."""
    (less, quick), (more, slow) = of.SEARCH_MEASUREMENTS
    slope = (slow - quick) / (more - less)
    return max(0.0, quick + (values - less) * slope)


def max_points(dim: int) -> int:
    (less, quick), (more, slow) = of.SEARCH_MEASUREMENTS
    slope = (slow - quick) / (more - less)
    return int((less + (of.COMFORTABLE_SEARCH_MS - quick) / slope) / dim)
