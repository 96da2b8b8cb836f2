"""Removes points whose files are gone; never those of a root that is itself missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from embedder import Embedder, Settings, load
from indexer.catalogue import Catalogue, is_gone
from indexer.collection import Collection
from indexer.timing import Stages
from indexer.walk import printable
from indexer.writer import Writer


@dataclass(frozen=True, slots=True)
class PruneReport:
    """`removed` contents left the collection with the `paths` that are gone.

    `absent` roots are missing or empty, as a disk that is not mounted is: nothing under them was
    touched.
    """

    removed: int
    paths: tuple[str, ...]
    absent: tuple[str, ...]


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
    again = Settings(dim=card.dim, pixel_budget=card.pixel_budget)
    model = embedder or (lambda: load(card.name, again))
    with (
        collection.writing(),
        closing(Catalogue(collection.index / "catalogue.db")) as catalogue,
    ):
        absent = [root for root in catalogue.roots() if not is_there(root)]
        gone = list(_gone(catalogue, absent))
        writer = Writer(collection, catalogue, model, Stages(), dry_run=dry_run)
        removed = writer.remove(gone)
        if not dry_run:
            collection.store.flush()
        paths = tuple(printable(path) for path in gone)
        return PruneReport(removed, paths, tuple(printable(root) for root in absent))


def vanished_under(catalogue: Catalogue, roots: Sequence[str]) -> list[str]:
    """The known paths under `roots` that this run did not see and that are not on the disk."""
    paths = (path for root in roots if is_there(root) for path in catalogue.vanished(root))
    return [path for path in dict.fromkeys(paths) if is_gone(path)]


def is_there(root: str) -> bool:
    """Whether `root` is a file, or a folder with anything in it."""
    try:
        if Path(root).is_file():
            return True
        with os.scandir(root) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def _gone(catalogue: Catalogue, absent: Iterable[str]) -> Iterator[str]:
    shut = tuple(f"{root.rstrip('/')}/" for root in absent)
    for path in catalogue.files():
        if not f"{path}/".startswith(shut) and is_gone(path):
            yield path
