"""A collection of one store becomes one of another: from a laptop to a server, and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from indexer.collection import writing
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.moving.move import Mode, MoveReport, move
from indexer.moving.source import label, opened
from indexer.places import place_of
from indexer.types import IngestProgress


def migrate(
    source: Config,
    to: Config,
    mode: Mode = "new",
    *,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> MoveReport:
    """Copy the collection of `source` to that of `to`; see `move`. The source is only read, and
    held meanwhile, so that nobody on this machine writes to it.

    Raises `CollectionError`, `StoreError`, `StoreBusyError`, `DiskFullError`.
    """
    if _place(source) == _place(to):
        raise CollectionError(
            f"{label(to)} is the source and the destination; give the copy another name with --to"
        )
    place = place_of(to)
    with opened(source) as points, writing(place.folder(to.collection)):
        return move(points, place, to, mode, on_progress=on_progress, stop=stop)


def _place(config: Config) -> tuple[str, str]:
    """Two ways to write one folder are one."""
    store = config.store if config.is_remote else str(Path(config.store).resolve())
    return store, config.collection
