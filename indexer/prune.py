"""Removes points whose files are gone; never those of a root that is itself missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from embedder import Embedder, Settings, load
from indexer.catalogue import Catalogue
from indexer.collection import Collection
from indexer.files import HEARD_OF, is_gone
from indexer.sources import Source, is_plain
from indexer.timing import Stages
from indexer.walk import is_there, printable
from indexer.writer import Writer


@dataclass(frozen=True, slots=True)
class PruneReport:
    """`removed` contents left the collection with the `paths` that are gone.

    `absent` roots are missing or empty, as a disk that is not mounted is: nothing under them was
    touched. `elsewhere` paths are at URLs, in archives or in tables, and were not looked for.
    """

    removed: int
    paths: tuple[str, ...]
    absent: tuple[str, ...]
    elsewhere: int = 0


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
        roots = [root for root in catalogue.roots() if is_plain(root)]
        absent = [root for root in roots if not is_there(root)]
        gone = list(_gone(catalogue, absent))
        if collection.shared:
            gone = [path for path in gone if _is_ours(catalogue, path)]
        writer = Writer(collection, catalogue, model, Stages(), dry_run=dry_run)
        removed = writer.remove(gone)
        if not dry_run:
            collection.store.flush()
        paths = tuple(printable(path) for path in gone)
        elsewhere = sum(not is_plain(path) for path in catalogue.files())
        return PruneReport(removed, paths, tuple(map(printable, absent)), elsewhere)


def vanished(catalogue: Catalogue, sources: Iterable[Source]) -> list[str]:
    """The known paths that this run did not see in `sources`, and that are gone: from the disk, or
    from what was listed to its end and was not empty."""
    there = (s.root for s in sources if (s.is_there() if s.is_folder else catalogue.listed(s.root)))
    paths = (path for root in there for path in catalogue.vanished(root))
    return [path for path in dict.fromkeys(paths) if catalogue.is_gone(path)]


def _is_ours(catalogue: Catalogue, path: str) -> bool:
    """Whether this machine has read the file, and has not only heard of it."""
    file = catalogue.file(path)
    return file is not None and file.size != HEARD_OF


def _gone(catalogue: Catalogue, absent: Iterable[str]) -> Iterator[str]:
    shut = tuple(f"{root.rstrip('/')}/" for root in absent)
    for path in catalogue.files():
        if is_plain(path) and not f"{path}/".startswith(shut) and is_gone(path):
            yield path
