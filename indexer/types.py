"""The data types of the indexer: records, queries, hits and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:  # numpy would double the time in which `indexer status` answers
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Vector: TypeAlias = "NDArray[np.float32]"
"""(dim,) float32 with norm 1."""

Payload = dict[str, Any]


class SparseVector(NamedTuple):
    """A sparse vector: one value for each index; indices are distinct and ascending."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One point: a UUID, named vectors (`image`, `text`, sparse `bm25`) and a payload."""

    id: str
    vectors: Mapping[str, Vector | SparseVector]
    payload: Payload


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption of an image; `language` is a BCP 47 tag in lower case, if known."""

    text: str
    language: str | None = None
    source: str = "sidecar"  # sidecar, manifest or embedded


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a query: a text, an image, or a point of the collection, with its weight."""

    text: str | None = None
    image: Image | None = None
    id: str | None = None
    weight: float = 1.0  # negative: "less like this"
    label: str = ""  # as the user wrote it; shown in the explanation


Filters = Mapping[str, tuple[str, ...]]
"""Payload key -> accepted values (any of them); all keys must match."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search.

    Attributes:
        parts: What to look for.
        filters: Which points count.
        limit: Hits on a page.
        offset: Hits before the page.
        diversity: 0 to 1; spreads the hits by MMR.
        group_duplicates: Show one of several near-duplicates.
        instruction: For models that follow instructions: what to look for.
    """

    parts: tuple[Part, ...]
    _: KW_ONLY
    filters: Filters = field(default_factory=dict)
    limit: int = 20
    offset: int = 0
    diversity: float = 0.0
    group_duplicates: bool = True
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A point that was found. `score` is on the scale of a cosine; `explanation` has the share of
    each part and channel."""

    id: str
    score: float
    payload: Payload
    explanation: Payload
    duplicates: tuple[str, ...] = ()  # ids of its near-duplicates

    @property
    def path(self) -> str | None:
        """The path of its file, or the first of several, as the payload has it."""
        paths: list[str] = self.payload.get("paths", [])
        return paths[0] if paths else None


@dataclass(frozen=True, slots=True)
class SearchResults:
    """A page of hits, best first. `is_significant` is False where no hit differs from chance."""

    hits: tuple[Hit, ...]
    took_ms: float
    is_significant: bool
    has_more: bool  # there is a next page

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, position: int) -> Hit:
        return self.hits[position]


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that was skipped: a reason code, and a sentence with the limit and what to do."""

    path: str
    reason: str
    detail: str = ""


SkipCallback: TypeAlias = "Callable[[SkippedFile], None]"


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did, counted in distinct contents: a copy of a file is not an addition."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    removed: int = 0
    skipped: tuple[SkippedFile, ...] = ()
    files: int = 0  # paths of images and texts that were seen
    interrupted: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """The progress of an ingest, as passed to the callback."""

    stage: str  # scan, ingest, flush
    done: int
    total: int | None
    skipped: int
    seconds: float
    path: str = ""
