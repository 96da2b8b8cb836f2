"""The data types of the indexer: records, queries, hits and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from numbers import Real
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

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


KeywordTexts: TypeAlias = "tuple[tuple[str, str | None], ...]"
"""What words are found in: captions, tags and names, each with its language, if known."""


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
class QueryTerm:
    """A term of a query as it is written: text, the name of an image, or the id of a point."""

    text: str | None = None
    image: str | None = None
    id: str | None = None
    weight: float = 1.0  # negative: "not this"

    @property
    def content(self) -> str:
        return self.text or self.image or f"id:{self.id}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a query: a text, an image, or a point of the collection, with its weight."""

    text: str | None = None
    image: Image | None = None
    id: str | None = None
    weight: float = 1.0  # negative: "not this"
    label: str = ""  # as the user wrote it; shown in the explanation
    source: Path | Image | None = None  # of `image`, for a reranker that uses more of its pixels


MATCH_WORDS = {"strong": 0.97, "likely": 0.8}
"""A word for a hit -> its least strength; docs/quality.md has the share of right hits of each."""


@dataclass(frozen=True, slots=True)
class FieldFilter:
    """What a point must have in one field of its payload, and what it must not have.

    A value is taken as it is. In a field of numbers, and in a column of the user's own, it may be a
    range: `2019..2022`, `2019..`, `>=800`.
    """

    any_of: tuple[str, ...] = ()  # one of them; empty: any value, or none
    none_of: tuple[str, ...] = ()

    @classmethod
    def from_value(cls, value: object) -> FieldFilter:
        """Make one from the form that JSON and the Python API have.

        Args:
            value: An accepted value, a list of them, or `{"any": ..., "not": ...}`.

        Raises:
            ValueError: Another type, or no value; the message is for the user.
        """
        if isinstance(value, FieldFilter):
            return value
        if not isinstance(value, Mapping):
            return cls(_to_values(value))
        if not value or set(value) - {"any", "not"}:
            raise ValueError('the keys of a filter are "any" and "not"')
        given = {key: _to_values(values) for key, values in value.items()}
        return cls(given.get("any", ()), given.get("not", ()))

    def to_value(self) -> list[str] | dict[str, list[str]]:
        """The form that `from_value` reads: a list where nothing is excluded."""
        if not self.none_of:
            return list(self.any_of)
        accepted = {"any": list(self.any_of)} if self.any_of else {}
        return {**accepted, "not": list(self.none_of)}


def _to_values(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    texts = []
    for each in values:
        if not isinstance(each, str | Real | PurePath):
            raise ValueError(f"a value is text or a number, not {type(each).__name__}")
        texts.append(str(each).lower() if isinstance(each, bool) else str(each))
    if not texts or not all(map(str.strip, texts)):
        raise ValueError("a value is missing")
    return tuple(dict.fromkeys(texts))


Filters = Mapping[str, FieldFilter]
"""Payload key -> what it must have; all must hold. A column of the user's own is `meta.NAME`."""


SortOrder = Literal["strength", "newest", "oldest", "added", "name"]
"""The best first; by the date when an image was taken; the last added first; by the file name."""


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
        min_strength: Leave out weaker hits, 0 to 1; hits of unknown strength stay.
        instruction: For models that follow instructions: what to look for.
        sort: The order of the hits. Another one than "strength" is for those that are likely right,
            or that stand out where this is not known; the others are left out.
    """

    parts: tuple[Part, ...]
    _: KW_ONLY
    filters: Filters = field(default_factory=dict)
    limit: int = 20
    offset: int = 0
    diversity: float = 0.0
    group_duplicates: bool = True
    min_strength: float = 0.0
    instruction: str | None = None
    sort: SortOrder = "strength"


QueryMatch = Literal["same", "copy"]
"""The point or image of the query itself, or a near-duplicate of its image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What of a hit matches one part of a query.

    Attributes:
        kind: Of what matches: the picture, a caption, a tag, the file name, or a document's text.
        words: The words that match, as they are written there; empty where the meaning matches.
        text: The caption, tag or name; of a name whose meaning matches, what it says in words.
            None if it is not known which of several captions or names fits.
        language: Of the caption, if known.
    """

    kind: Literal["image", "caption", "tag", "name", "text"]
    words: tuple[str, ...] = ()
    text: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartExplanation:
    """What a wanted part of a query contributes to a hit: its share of 1, and why."""

    label: str
    weight: float
    share: float
    reasons: tuple[Reason, ...]  # the strongest first; empty if nothing stands out


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedByPart:
    """What an unwanted part of a query removed: how many of the points that were considered."""

    label: str
    weight: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankExplanation:
    """What a reranker did with a hit.

    Attributes:
        place: The place that the search had given it, from 1.
        score: How well it fits, by the reranker; None where it could read nothing of the hit, which
            has kept its place.
    """

    place: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit was found, in plain terms; empty where nothing was looked for. `rerank` is None for
    a hit that no reranker has seen."""

    parts: tuple[PartExplanation, ...] = ()
    removed: tuple[RemovedByPart, ...] = ()
    rerank: RerankExplanation | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A point that was found. `score` is on the scale of a cosine; `why` has the scores of each
    part and channel, and `explanation` says in plain terms what they mean. `query_match` tells a
    hit that the query is made from. `strength` is from 0 to 1; None where no claim can be made."""

    id: str
    score: float
    payload: Payload
    why: Payload
    duplicates: tuple[str, ...] = ()  # ids of its near-duplicates
    query_match: QueryMatch | None = None
    explanation: Explanation = Explanation()
    strength: float | None = None
    signature: str | None = None  # of an image: what it looks like, in 200 bytes

    @property
    def match(self) -> str | None:
        """The word for its strength: "strong", "likely" or "weak"; None where it is unknown."""
        if self.strength is None:
            return None
        words = (word for word, least in MATCH_WORDS.items() if self.strength >= least)
        return next(words, "weak")

    @property
    def path(self) -> str | None:
        """The path of its file, or the first of several, as the payload has it."""
        paths: list[str] = self.payload.get("paths", [])
        return paths[0] if paths else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranking:
    """What a reranker did with the first hits of a search.

    Attributes:
        model: Its name.
        scored: The number of hits that it has put in order.
        seen: The number of hits that it was given; of the others it could read nothing.
        took_ms: For reading their images and scoring them, without loading the model.
        note: Why it has done nothing, if so.
    """

    model: str
    scored: int = 0
    seen: int = 0
    took_ms: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class SearchResults:
    """A page of hits, best first.

    `matches` says whether some point is likely to be what the query asks for; None where no claim
    can be made. `hint` says which value of the filters no point has. `total` is the number of hits
    on all pages, where they were sorted, and `num_strong` that of the strong ones, where
    docs/quality.md says how many of these are right: for a few words, with the starter. `reranking`
    says what a reranker did, if there was one; its time is not in `took_ms`.
    """

    hits: tuple[Hit, ...]
    took_ms: float
    matches: bool | None
    has_more: bool  # there is a next page
    hint: str = ""
    total: int | None = None
    num_strong: int | None = None
    reranking: Reranking | None = None

    @property
    def num_leading(self) -> int:
        """How many hits come before the tail, in which all are weak."""
        return max((n for n, hit in enumerate(self.hits, 1) if hit.match != "weak"), default=0)

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

    @property
    def is_failure(self) -> bool:
        """Whether something is wrong with it; False for what is not indexed by design."""
        return self.reason not in {"unsupported", "link-cycle"}


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence about a file that was read, but not in all as it is written."""

    path: str
    text: str


SkipCallback: TypeAlias = "Callable[[SkippedFile], None]"


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    Every file that was found is counted once: `files` is the sum of `added`, `updated`,
    `unchanged`, `moved`, `duplicates`, `unsupported`, `failed` and `remaining`.

    Attributes:
        added: Files with a new content.
        updated: Files whose content or captions have changed.
        unchanged: Files that are as they were.
        moved: Files whose content was at another path before.
        duplicates: Further files with a content that is counted in one of these.
        unsupported: Files of a kind that is not indexed, such as SVG; `skipped` has them.
        failed: Files, also of captions, and archives that cannot be read; `skipped` has them.
        remaining: Files that an interrupted run has not reached.
        removed: Contents that left the collection, because their files are gone.
        recovered: Contents that the store had lost, as after a power cut, and that are written
            again; each of their files is counted above too.
        lost: Files whose points the store has lost, and that this run could not read again: they
            are gone, have failed, or lie outside of its folders.
        skipped: What is unsupported or has failed, and why.
        notes: What people should know about files that were read: names in tables of captions that
            fit no file, or not exactly, rows that were read otherwise than they are written, and
            images that lack their end.
        passed_over: Kind -> how many files were found that are neither images nor texts.
        files: All files that were found.
        interrupted: Whether the run was stopped before its end.
        seconds: Time by stage, summed over threads, and in total.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    duplicates: int = 0
    unsupported: int = 0
    failed: int = 0
    remaining: int = 0
    removed: int = 0
    recovered: int = 0
    lost: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    notes: tuple[Note, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    files: int = 0
    interrupted: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """The progress of an ingest, as passed to the callback."""

    stage: str  # scan, ingest, flush
    done: int
    total: int | None
    skipped: int
    seconds: float
    path: str = ""
