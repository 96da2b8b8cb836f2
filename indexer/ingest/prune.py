"""Removes points whose files are gone; never those of a root that is itself missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from embedder import Embedder
from indexer.collections.collection import OpenCollection
from indexer.collections.model import LazyEmbedder
from indexer.ingest.catalog import CATALOG_FILE, Catalog, is_missing
from indexer.ingest.embed_stage import EmbedStage
from indexer.ingest.reconcile import (
    Action,
    collect_removals,
    load_stored,
    reconcile,
    take_vectors,
)
from indexer.ingest.types import NOT_READ_HERE
from indexer.ingest.write_stage import WriteStage
from indexer.paths import display_path, is_local_file
from indexer.sources import Source
from indexer.sources.local import is_path_available

BATCH_SIZE = 256  # paths that are removed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport:
    """What a prune did.

    Attributes:
        removed: Contents that left the collection.
        paths: The paths that are gone.
        missing_roots: Roots that are missing or empty, as an unmounted disk is: nothing under them
            was touched.
        not_checked: Paths at URLs, in archives or in tables, which were not looked for.
    """

    removed: int
    paths: tuple[str, ...]
    missing_roots: tuple[str, ...]
    not_checked: int = 0


def prune(
    collection: OpenCollection,
    embedder: Callable[[], Embedder],
    *,
    dry_run: bool = False,
) -> PruneReport:
    """Remove the paths that are gone from the disk, and the points that have no other path.

    Args:
        collection: The collection to prune.
        embedder: Loads its model, which is only needed where a point stays and loses captions with
            one of its copies.
        dry_run: Report what would be done; write nothing.

    Raises:
        StoreBusyError: Another process is writing to the collection.
        StoreError: The store failed.
    """
    model = LazyEmbedder(collection.card, embedder)
    with (
        collection.lock_for_writing(),
        closing(Catalog(collection.index_dir / CATALOG_FILE)) as catalog,
        EmbedStage(model, BATCH_SIZE) as embed_stage,
    ):
        roots = [root for root in catalog.list_roots() if is_local_file(root)]
        missing_roots = [root for root in roots if not is_path_available(root)]
        missing = list(_iter_missing(catalog, missing_roots, collection.is_shared))
        write_stage = WriteStage(collection, catalog, dry_run=dry_run)
        removed = remove_paths(missing, collection, catalog, embed_stage, write_stage)
        return PruneReport(
            removed=removed,
            paths=tuple(map(display_path, missing)),
            missing_roots=tuple(map(display_path, missing_roots)),
            not_checked=sum(not is_local_file(path) for path in catalog.iter_paths()),
        )


def find_unlisted(catalog: Catalog, sources: Iterable[Source]) -> list[str]:
    """The known paths that this run did not see in `sources`, and that are gone: from the disk, or
    from a source that was listed to its end and was not empty."""
    roots = (
        source.root
        for source in sources
        if (source.is_available() if source.is_folder else catalog.is_fully_listed(source.root))
    )
    paths = (path for root in roots for path in catalog.list_unseen(root))
    return [path for path in dict.fromkeys(paths) if catalog.is_missing(path)]


def remove_paths(
    paths: Iterable[str],
    collection: OpenCollection,
    catalog: Catalog,
    embed_stage: EmbedStage,
    write_stage: WriteStage,
    roots: Sequence[str] = (),
) -> int:
    """Remove `paths`; returns how many contents have no other path, and so left the store."""
    removed, remaining = 0, iter(paths)
    while page := list(islice(remaining, BATCH_SIZE)):
        changes = collect_removals(page, catalog)
        load_stored(
            changes, collection.store, collection.thumbnail_dir, shared=collection.is_shared
        )
        names = collection.active_index.names
        plans = [reconcile(change, roots, names=names) for change in changes]
        writes = [write for plan in plans for write in plan.writes]
        outputs = [] if write_stage.dry_run else embed_stage.submit(writes).result()
        take_vectors(plans, outputs)
        write_stage.write(plans)
        removed += sum(plan.action in {Action.DELETE, Action.FORGET} for plan in plans)
    write_stage.commit()
    return removed


def _iter_missing(catalog: Catalog, missing_roots: Iterable[str], shared: bool) -> Iterator[str]:
    """Local paths that are gone; of a shared collection, those that this machine has read."""
    skipped = tuple(f"{root.rstrip('/')}/" for root in missing_roots)
    for path in catalog.iter_paths():
        if not is_local_file(path) or f"{path}/".startswith(skipped) or not is_missing(path):
            continue
        file = catalog.get_file(path) if shared else None
        if not shared or (file is not None and file.size != NOT_READ_HERE):
            yield path
