"""A new index of a collection, with another model: built next to the active one, then activated.

The build is an ingest of the collection's folders. Searches continue in the old index; nothing else
may write. The same call continues a run that was interrupted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace

from embedder.types import Embedder, ModelCard
from indexer.collections import CollectionBackend, CollectionIndex, make_layout, open_backend
from indexer.collections.collection import OpenCollection, lock_for_writing, measure_disk_usage
from indexer.collections.model import format_model
from indexer.config import Config
from indexer.errors import CollectionError, StoreError
from indexer.ingest.added import FormerIndex
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.ingest.pipeline import ingest_with_workers
from indexer.ingest.tagging import copy_tags
from indexer.ingest.types import IngestOptions
from indexer.paths import display_path
from indexer.reindex.checks import IndexDiff, compare_indexes, verify_index
from indexer.search.filters import build_store_filter
from indexer.sources import is_root_available
from indexer.stores.base import MIN_FREE_BYTES, TENANT_KEY, check_disk_space
from indexer.stores.tenant import TenantStore
from indexer.types import FieldFilter, IngestProgress, IngestReport

log = logging.getLogger(__name__)
MAX_TENANTS = 100_000


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What was built. `switched` is False if the run was interrupted, or if the new index would
    lack something: then the old index stays active, and the new one is kept."""

    before: ModelCard
    after: ModelCard
    points: tuple[int, int]  # in the old index and in the new one
    ingest: IngestReport
    diff: IndexDiff
    checked: int  # points that were embedded again and agree
    switched: bool


def reindex(
    config: Config,
    embedder: Embedder,
    options: IngestOptions | None = None,
    *,
    allow_missing: bool = False,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> ReindexReport | None:
    """Rebuild the collection's index with `embedder`; None if it has that model already.

    `allow_missing`: switch even if folders are missing or existing files are not indexed.
    Raises `CollectionError`, `StoreBusyError`, `DiskFullError` and what `ingest` raises; the active
    index stays complete in any case.
    """
    backend, name = open_backend(config), config.collection
    before = backend.get_indexes(name).in_use
    if before.card.fingerprint == embedder.card.fingerprint:
        return None
    if config.tenant:
        raise CollectionError(
            f"tenant {config.tenant!r} shares collection {name!r}, which has one model for all "
            "tenants: reindex without --tenant (POLYLENS_TENANT)"
        )
    with lock_for_writing(backend.local_dir(name)):
        owners = [replace(config, tenant=share) for share in _list_tenants(backend, before)]
        sources = []
        for own in owners:  # check all before the build starts
            with OpenCollection.open_index(own, backend, before) as old:
                sources.append(_list_sources(old, embedder.card, allow_missing=allow_missing))
        index = _get_or_start_build(config, backend, before, embedder.card)
        reports = []
        for own, (roots, hosts) in zip(owners, sources, strict=True):
            own_options = replace(options or IngestOptions(), prune=True, allowed_hosts=hosts)
            with (
                OpenCollection.open_index(own, backend, before) as old,
                OpenCollection.open_index(own, backend, index, is_build=True) as new,
            ):
                run = _Reindex(own, old, new, embedder, own_options, on_progress)
                reports.append(run(roots, stop or threading.Event(), allow_missing=allow_missing))
            if reports[-1].ingest.interrupted:
                break
        report = _merge_reports(reports)
        if report.switched:
            backend.switch(name, index)
        return report


def rollback(config: Config) -> ModelCard:
    """Switch back to the old index; the caller holds the write lock. Returns its model.

    What people have tagged since the switch is copied first, if the index in use can be read.
    Raises `CollectionError` if there is no old index.
    """
    backend, name = open_backend(config), config.collection
    indexes, own = backend.get_indexes(name), replace(config, tenant=None)
    if indexes.old is not None:
        try:
            with (
                OpenCollection.open_index(own, backend, indexes.in_use) as new,
                OpenCollection.open_index(own, backend, indexes.old) as old,
            ):
                copy_tags(new.store, old.store)
                old.store.flush()
        except (CollectionError, StoreError) as error:
            log.warning("tags that were given since the reindex are not copied: %s", error)
    return backend.rollback(name)


def _list_tenants(backend: CollectionBackend, index: CollectionIndex) -> list[str | None]:
    """The tenants to ingest in turn: None for all at once, or each tenant and then "" for the
    points without a tenant."""
    with closing(backend.open(index)) as store:
        if TenantStore(store, None).count() == store.count():
            return [None]
        return [*(name for name, _ in store.facet(TENANT_KEY, limit=MAX_TENANTS)), ""]


def _merge_reports(reports: Sequence[ReindexReport]) -> ReindexReport:
    """Merge the reports of several tenants; switched if all of them are."""
    first = reports[0]
    if len(reports) == 1:
        return first
    done = [report.ingest for report in reports]
    counts = [f.name for f in fields(IngestReport) if f.type == "int"]
    ingest = replace(
        done[-1],
        **{name: sum(getattr(one, name) for one in done) for name in counts},
        skipped=tuple(skip for one in done for skip in one.skipped),
        seconds={"total": round(sum(one.seconds.get("total", 0.0) for one in done), 3)},
    )
    lists = ("vanished", "changed", "lost", "lost_captions")
    diff = IndexDiff(**{n: tuple(x for r in reports for x in getattr(r.diff, n)) for n in lists})
    return replace(
        first,
        points=(sum(r.points[0] for r in reports), sum(r.points[1] for r in reports)),
        ingest=ingest,
        diff=diff,
        checked=sum(report.checked for report in reports),
        switched=all(report.switched for report in reports),
    )


@dataclass(frozen=True, slots=True)
class _Reindex:
    """Build, compare, check."""

    config: Config
    old: OpenCollection
    new: OpenCollection
    embedder: Embedder
    options: IngestOptions
    on_progress: Callable[[IngestProgress], None] | None

    def __call__(
        self, roots: list[str], stop: threading.Event, *, allow_missing: bool
    ) -> ReindexReport:
        with closing(Catalog(self.old.index_dir / CATALOG_FILE)) as catalog:
            done = ingest_with_workers(
                self.config,
                roots,
                self.new,
                self.embedder,
                self.options,
                self.on_progress,
                stop,
                FormerIndex(self.old.store, catalog),
            )
        points = self.old.store.count(), self.new.store.count()
        report = ReindexReport(
            self.old.card, self.new.card, points, done, IndexDiff(), 0, switched=False
        )
        if done.interrupted:
            return report

        def report_progress(seen: int) -> None:
            if self.on_progress:
                seconds = done.seconds.get("total", 0.0)
                skipped = len(done.skipped)
                self.on_progress(IngestProgress("check", seen, points[0], skipped, seconds))

        diff = compare_indexes(self.old, self.new, done.skipped, report_progress)
        report = replace(report, diff=diff)
        if stop.is_set():
            return replace(report, ingest=replace(done, interrupted=True))
        if (diff.lost or diff.lost_captions) and not allow_missing:
            return report
        checked = verify_index(self.new, self.embedder, self.options)
        copy_tags(self.old.store, self.new.store)  # last: those of this run's hours too
        self.new.store.flush()
        return replace(report, checked=checked, switched=True)


def _get_or_start_build(
    config: Config, backend: CollectionBackend, before: CollectionIndex, card: ModelCard
) -> CollectionIndex:
    """Return the index to continue, or a new one; raises `CollectionError`, `DiskFullError`."""
    name = config.collection
    backend.collect_garbage(name)
    indexes = backend.get_indexes(name)
    if indexes.old is not None and indexes.old.card.fingerprint == card.fingerprint:
        raise CollectionError(
            f"the index of {format_model(card)} still exists: run indexer reindex --rollback to "
            "switch back to it, and indexer ingest FOLDER to bring it up to date"
        )
    build = indexes.building
    if build is None:
        check_disk_space(backend.local_dir(name), MIN_FREE_BYTES + _estimate_bytes(before, card))
        layout = make_layout(config, backend.get_layout(before))
        return backend.start_build(name, card, layout, before.texts.update(config.names))
    if build.card.fingerprint != card.fingerprint:
        raise CollectionError(
            f"an index of {format_model(build.card)} is half built, and another was requested; "
            f"continue it: indexer reindex --model {build.card.name}; or delete it: "
            "indexer reindex --forget"
        )
    return build


def _estimate_bytes(before: CollectionIndex, card: ModelCard) -> int:
    """The bytes that the new index may need on this disk; its points may be on a server."""
    return (
        measure_disk_usage(before.folder / "shard")
        * max(card.dim, before.card.dim)
        // before.card.dim
    )


def _list_sources(
    old: OpenCollection, card: ModelCard, *, allow_missing: bool
) -> tuple[list[str], tuple[str, ...]]:
    """List the roots to ingest, and the hosts that the user has allowed for their lists.

    Raises `CollectionError` if the new index would lack much.
    """
    with closing(Catalog(old.index_dir / CATALOG_FILE)) as catalog:
        known = {root: catalog.count_under(root) for root in catalog.list_roots()}
        hosts = catalog.list_hosts()
    if not known and old.store.count():
        raise CollectionError(
            f"collection {old.name!r} no longer knows its folders (its catalog is new); run "
            "indexer ingest FOLDER (nothing is embedded twice), then reindex"
        )
    images = build_store_filter({"kind": FieldFilter(("image",))})
    if "image" not in card.modalities and old.store.count(images):
        raise CollectionError(
            f"{card.name} embeds only text, and collection {old.name!r} has images; choose "
            "another model: embedder models"
        )
    absent = [
        f"{display_path(r)} ({n} files)" for r, n in known.items() if n and not is_root_available(r)
    ]
    if absent and not allow_missing:
        raise CollectionError(
            f"missing or empty (a disk that is not mounted?): {', '.join(absent)}; the "
            "new index would lack these files. Mount the disk, or go on without: --allow-missing"
        )
    return [root for root in known if is_root_available(root)], hosts
