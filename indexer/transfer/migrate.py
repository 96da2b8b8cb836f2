"""A collection of one store becomes one of another: from a laptop to a server, and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from indexer.collections import open_backend
from indexer.collections.collection import lock_for_writing
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.transfer.source import format_location, open_source_collection
from indexer.transfer.transfer import Mode, TransferReport, transfer
from indexer.types import IngestProgress


def migrate(
    source: Config,
    to: Config,
    mode: Mode = "new",
    *,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> TransferReport:
    """Copy the collection of `source` to that of `to`; see `move`. The source is only read, and
    held meanwhile, so that nobody on this machine writes to it.

    Raises `CollectionError`, `StoreError`, `StoreBusyError`, `DiskFullError`.
    """
    if _location_key(source) == _location_key(to):
        raise CollectionError(
            f"{format_location(to)} is the source and the destination; give the copy another name with --to"
        )
    place = open_backend(to)
    with open_source_collection(source) as points, lock_for_writing(place.local_dir(to.collection)):
        return transfer(points, place, to, mode, on_progress=on_progress, stop=stop)


def _location_key(config: Config) -> tuple[str, str]:
    """Two ways to write one folder are one."""
    store = config.store if config.is_remote else str(Path(config.store).resolve())
    return store, config.collection
