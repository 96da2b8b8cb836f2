"""What flows through the indexer: records in, queries and hits out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:  # numpy would double the time in which `indexer status` answers
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

Vector: TypeAlias = "NDArray[np.float32]"
"""(dim,) float32 of unit length."""

Payload = dict[str, Any]


class SparseVector(NamedTuple):
    """A sparse vector: as many values as indices, the indices distinct and ascending."""

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
    """What somebody wrote about a picture; `language` is a BCP 47 tag in lower case, if known."""

    text: str
    language: str | None = None
    source: str = "sidecar"  # sidecar, manifest or embedded


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a query: words, a picture, or a point of the collection, with its weight."""

    text: str | None = None
    image: Image | None = None
    id: str | None = None
    weight: float = 1.0  # negative: "less like this"
    label: str = ""  # how the user wrote it; shown in `why`


Filters = Mapping[str, tuple[str, ...]]
"""Filters: payload key -> accepted values (any of them); all keys must hold."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. `diversity` 0..1 spreads the hits (MMR); `fold` hides near-duplicates;
    `instruction` tells a model that follows instructions what to look for."""

    parts: tuple[Part, ...]
    filters: Filters = field(default_factory=dict)
    limit: int = 20
    offset: int = 0
    diversity: float = 0.0
    group_duplicates: bool = True
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. `score` is on the cosine's scale; `why` has each part's and channel's share."""

    id: str
    score: float
    payload: Payload
    explanation: Payload
    duplicates: tuple[str, ...] = ()  # ids of near-duplicates that stand behind this hit


@dataclass(frozen=True, slots=True)
class SearchResults:
    """The hits of one page, best first. `matches` is False where nothing stands out from chance."""

    hits: tuple[Hit, ...]
    took_ms: float
    is_significant: bool
    has_more: bool  # there is a next page


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file that was left out: a reason code and a sentence with the limit and the way out."""

    path: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did. Counts are of distinct contents, not of paths: a copy is no addition."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    removed: int = 0
    skipped: tuple[SkippedFile, ...] = ()
    files: int = 0  # paths seen that hold a picture or a text
    interrupted: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds spent


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """Where an ingest stands; handed to the caller's callback now and then."""

    stage: str  # scan, ingest, flush
    done: int
    total: int | None
    skipped: int
    seconds: float
    path: str = ""
