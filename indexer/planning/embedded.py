"""The embedded store: one file tree on this disk, searched whole, and how far that goes."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.planning import figures as of
from indexer.planning.sizes import Load, facets, lookups, words_stored


@dataclass(frozen=True, slots=True)
class Embedded:
    """Bytes, and ms of a search at the median. `limit` is the most points at this length of
    vectors for which a search stays within 100 ms."""

    disk: float
    ram: float
    search_ms: float
    limit: int
    fits: bool


def embedded(load: Load) -> Embedded:
    numbers = load.slots * load.dim * of.EMBEDDED_NUMBER
    beside = words_stored(load) + facets(load) + lookups(load)
    took = search_ms(load.points * load.dim)
    return Embedded(
        disk=numbers + load.payload + beside + of.EMBEDDED_LOG,
        ram=float(numbers + beside),
        search_ms=took,
        limit=limit(load.dim),
        fits=load.points <= limit(load.dim),
    )


def search_ms(numbers: float) -> float:
    """A line through the two larger measurements of docs/benchmarks.md: a scan reads everything,
    so that its time grows as points x dim."""
    (less, quick), (more, slow) = of.SEARCHES
    rise = (slow - quick) / (more - less)
    return max(0.0, quick + (numbers - less) * rise)


def limit(dim: int) -> int:
    (less, quick), (more, slow) = of.SEARCHES
    rise = (slow - quick) / (more - less)
    return int((less + (of.COMFORTABLE - quick) / rise) / dim)
