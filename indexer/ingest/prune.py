"""Removes points whose files are gone; never those of a root that is itself missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from embedder import Embedder, Settings, load
from indexer.collection import Collection
from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import NOT_READ_HERE, is_missing
from indexer.ingest.timing import StageTimer
from indexer.ingest.write_stage import PointWriter
from indexer.paths import display_path
from indexer.sources import Source, is_local_file
from indexer.sources.walk import is_path_available


@dataclass(frozen=True, slots=True)
class PruneReport:
    """`removed` contents left the collection with the `paths` that are gone.

    `absent` roots are missing or empty, as a disk that is not mounted is: nothing under them was
    touched. `elsewhere` paths are at URLs, in archives or in tables, and were not looked for.
    """

    removed: int
    paths: tuple[str, ...]
    missing_roots: tuple[str, ...]
    not_checked: int = 0


def prune(
    collection: Collection,
    embedder: Callable[[], Embedder] | None = None,
    *,
    dry_run: bool = False,
) -> PruneReport:
    """Forget the paths that are gone from the disk; raises `StoreBusyError`, `StoreError`.

    The embedder (by default the collection's own) is called only where a point stays and loses
    captions with one of its copies.
    """
    card = collection.card
    settings = Settings(dim=card.dim, pixel_budget=card.pixel_budget)
    model = embedder or (lambda: load(card.name, settings))
    with (
        collection.writing(),
        closing(Catalog(collection.index / "catalogue.db")) as catalogue,
    ):
        roots = [root for root in catalogue.list_roots() if is_local_file(root)]
        absent = [root for root in roots if not is_path_available(root)]
        missing = list(_iter_missing(catalogue, absent))
        if collection.shared:
            missing = [path for path in missing if _was_read_here(catalogue, path)]
        writer = PointWriter(collection, catalogue, model, StageTimer(), dry_run=dry_run)
        removed = writer.remove(missing)
        if not dry_run:
            collection.store.flush()
        paths = tuple(display_path(path) for path in missing)
        elsewhere = sum(not is_local_file(path) for path in catalogue.iter_paths())
        return PruneReport(removed, paths, tuple(map(display_path, absent)), elsewhere)


def find_missing(catalogue: Catalog, sources: Iterable[Source]) -> list[str]:
    """The known paths that this run did not see in `sources`, and that are gone: from the disk, or
    from what was listed to its end and was not empty."""
    there = (
        s.root
        for s in sources
        if (s.is_available() if s.is_folder else catalogue.is_fully_listed(s.root))
    )
    paths = (path for root in there for path in catalogue.list_unseen(root))
    return [path for path in dict.fromkeys(paths) if catalogue.is_missing(path)]


def _was_read_here(catalogue: Catalog, path: str) -> bool:
    """Whether this machine has read the file, and has not only heard of it."""
    file = catalogue.get_file(path)
    return file is not None and file.size != NOT_READ_HERE


def _iter_missing(catalogue: Catalog, absent: Iterable[str]) -> Iterator[str]:
    shut = tuple(f"{root.rstrip('/')}/" for root in absent)
    for path in catalogue.iter_paths():
        if is_local_file(path) and not f"{path}/".startswith(shut) and is_missing(path):
            yield path
