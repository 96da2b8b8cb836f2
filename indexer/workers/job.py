"""What travels between this machine and a worker. All of it can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from indexer.config import Config
from indexer.decode import Limits
from indexer.files import Todo
from indexer.places import Index
from indexer.prepare import Prepared
from indexer.sources import Reading
from indexer.types import Skip


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run is told once. `config` and `roots` may hold keys: never show."""

    config: Config
    index: Index
    roots: tuple[str | Path, ...]  # as the user named them, absolute
    reading: Reading
    limits: Limits
    frames: bool
    threads: int = 1  # that decode, in each worker


@dataclass(frozen=True, slots=True)
class Task:
    """A file to do. `known` is the content that the catalogue has for it: if it still holds that,
    only its captions have changed, and it need not be decoded."""

    todo: Todo
    known: str | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Files that a worker is given at once; `deaths` of workers that had them in hand."""

    tasks: tuple[Task, ...]
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: its points are in the store, or it is left out."""

    item: Prepared | Skip  # without its pictures
    thumbnail: bytes | None = None  # a JPEG


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a shard. `skips` are of caption files."""

    outcomes: list[Outcome]
    skips: tuple[Skip, ...] = ()
    seconds: Mapping[str, float] | None = None  # stage -> seconds spent
