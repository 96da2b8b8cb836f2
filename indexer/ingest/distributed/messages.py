"""What travels between the coordinator and a worker. All of it can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedder.images.decode import DecodeLimits
from indexer.collections import CollectionIndex
from indexer.config import Config
from indexer.ingest.types import DecodedFile
from indexer.sources import SourceFile, SourceOptions
from indexer.types import SkippedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJob:
    """What every worker of a run gets once. `config` and `roots` may hold keys: never show them."""

    config: Config
    index: CollectionIndex
    roots: tuple[str | Path, ...]  # as the user named them, absolute
    source_options: SourceOptions
    limits: DecodeLimits
    embed_frames: bool
    decode_threads: int = 1


@dataclass(frozen=True, slots=True)
class FileTask:
    """A file to decode and embed. If it still holds the content that the catalog has for it, only
    its captions have changed, and it is not decoded."""

    file: SourceFile
    known_content_id: str | None = None


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Files that a worker gets at once; `failures` counts the workers that died with them."""

    tasks: tuple[FileTask, ...]
    failures: int = 0


@dataclass(frozen=True, slots=True)
class FileResult:
    """A file with its vectors and without its images, or why it is skipped."""

    item: DecodedFile | SkippedFile
    thumbnail: bytes | None = None  # a JPEG


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a worker returns for a batch. `skips` are of caption files."""

    files: list[FileResult]
    skips: tuple[SkippedFile, ...] = ()
    seconds: Mapping[str, float] | None = None  # by stage
