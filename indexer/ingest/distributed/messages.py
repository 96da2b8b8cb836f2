"""What travels between this machine and a worker. All of it can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedder.images.decode import DecodeLimits
from indexer.config import Config
from indexer.ingest.catalog_rows import PendingFile
from indexer.ingest.decode_stage import DecodedFile
from indexer.places import Index
from indexer.sources import SourceOptions
from indexer.types import SkippedFile


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What every worker of a run is told once. `config` and `roots` may hold keys: never show."""

    config: Config
    index: Index
    roots: tuple[str | Path, ...]  # as the user named them, absolute
    source_options: SourceOptions
    limits: DecodeLimits
    embed_frames: bool
    decode_threads: int = 1  # that decode, in each worker


@dataclass(frozen=True, slots=True)
class FileTask:
    """A file to do. `known` is the content that the catalogue has for it: if it still holds that,
    only its captions have changed, and it need not be decoded."""

    file: PendingFile
    known_content_id: str | None = None


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Files that a worker is given at once; `deaths` of workers that had them in hand."""

    tasks: tuple[FileTask, ...]
    failures: int = 0


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of a file: its points are in the store, or it is left out."""

    item: DecodedFile | SkippedFile  # without its pictures
    thumbnail: bytes | None = None  # a JPEG


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a shard. `skips` are of caption files."""

    outcomes: list[FileOutcome]
    skips: tuple[SkippedFile, ...] = ()
    seconds: Mapping[str, float] | None = None  # stage -> seconds spent
