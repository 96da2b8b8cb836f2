"""What travels between the stages of an ingest, its options, and the timer that they share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embedder.images.decode import DecodeLimits
from indexer.captions.normalize import FileCaptions
from indexer.paths import make_point_ids
from indexer.sources import SourceFile, SourceOptions
from indexer.types import KeywordTexts, Payload

if TYPE_CHECKING:
    from PIL.Image import Image

    from indexer.config import Config
    from indexer.types import Vector

NOT_READ_HERE = -1
"""The size of a file that another machine has read: the point in the store names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions(SourceOptions):
    """How to ingest, and how to read the sources.

    Attributes:
        limits: The largest file and image that are decoded.
        batch_size: Files in a batch: what a crash may cost.
        decode_threads: Threads that decode; 0: one per core, at most 8.
        prune: Remove the points of files that are gone.
        dry_run: Report what would be done; write nothing.
        embed_frames: Embed several frames of an animation, not the first alone.
        names: Embed what the names of files say; None: as the collection was ingested last.
        rehash: Read every file again, also those whose size and time are the same.
    """

    limits: DecodeLimits = field(default_factory=DecodeLimits)
    batch_size: int = 64
    decode_threads: int = 0
    prune: bool = False
    dry_run: bool = False
    embed_frames: bool = False
    names: bool | None = None
    rehash: bool = False

    @classmethod
    def from_config(cls, config: Config, **options: Any) -> IngestOptions:
        """Take from the settings what `options` leave out."""
        from_settings: dict[str, Any] = {
            "limits": DecodeLimits(config.max_bytes, config.max_pixels),
            "batch_size": config.batch,
            "decode_threads": config.decode_threads,
            "names": config.names,
        }
        return cls(**from_settings | options)


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """One path as it was when it was last read."""

    path: str
    size: int
    mtime_ns: int
    content_id: str
    captions: FileCaptions
    ctime_ns: int | None = None  # None: not known, or not to be relied on


@dataclass(frozen=True, slots=True)
class CatalogContent:
    """One content: the hash of a file's bytes, and the payload fields that follow from them."""

    id: str
    num_chunks: int  # of a document; 0 for an image
    base_payloads: list[dict[str, Any]]  # one for each point

    @property
    def point_ids(self) -> list[str]:
        return make_point_ids(self.id, self.num_chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedFile:
    """A file whose content is identified: the decode stage's output.

    A worker sends vectors in place of images: `text_vectors` has one for each text that it has
    embedded. `note` says what is wrong with a file that could be decoded all the same.
    """

    pending: SourceFile
    file: CatalogFile
    new_content: CatalogContent | None = None  # None: the content is known already
    images: tuple[Image, ...] = ()
    image_vector: Vector | None = None
    text_vectors: Mapping[str, Vector] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointWrite:
    """One point to write, and what must be embedded for it.

    `is_new` writes the whole point. Otherwise its payload is replaced, and those vectors that are
    given; those named in `dropped` are deleted.
    """

    id: str
    payload: Payload
    is_new: bool
    dropped: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    image_vector: Vector | None = None
    texts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    text_vectors: Mapping[str, Vector] = field(default_factory=dict)
    keyword_texts: KeywordTexts | None = None  # None: the sparse vector stays as it is


class StageTimer:
    """`with timer("decode"): ...` adds the block's wall-clock seconds to that stage."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage, summed over threads."""
        with self._lock:
            return {stage: round(spent, 3) for stage, spent in self._seconds.items()}
