"""A new index of a collection, with another model: built beside the one in use, then put in use.

The building is an ingest of the collection's folders. Searches go on meanwhile, in the old index;
nothing else may write. A run that ends, however it does, is gone on with by the same call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from embedder.types import Embedder, ModelCard
from indexer.collection import FREE_BYTES, Collection, disk_usage, require_disk, writing
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.ingest.catalog import Catalog
from indexer.ingest.pipeline import ingest_with_workers
from indexer.ingest.types import IngestOptions
from indexer.ingest.verify import verify_index
from indexer.losses import Losses, compare
from indexer.models import label
from indexer.paths import display_path
from indexer.places import Index, Place, layout_of, place_of
from indexer.search.filters import build_store_filter
from indexer.sources import is_root_available
from indexer.stores.tenant import TENANT, TenantStore
from indexer.types import IngestProgress, IngestReport

MOST_TENANTS = 100_000


@dataclass(frozen=True, slots=True)
class ReindexReport:
    """What was built. `switched` is False where it was interrupted, or where something of the old
    index would have been lost: then the old one is still in use, and the new one is kept."""

    before: ModelCard
    after: ModelCard
    points: tuple[int, int]  # in the old index and in the new one
    ingest: IngestReport
    losses: Losses
    checked: int  # points that were embedded anew and agree
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
    """Make the collection's index anew with `embedder`; None where it has that model already.

    `allow_missing`: switch although folders are missing, or files that are there come to nothing.
    Raises `CollectionError`, `StoreBusyError`, `DiskFullError` and what `ingest` raises; whatever
    happens, the index in use is whole.
    """
    place, name = place_of(config), config.collection
    before = place.indexes(name).in_use
    if before.card.fingerprint == embedder.card.fingerprint:
        return None
    if config.tenant:
        raise CollectionError(
            f"tenant {config.tenant!r} shares collection {name!r}, and one model has to do for all "
            "of it: reindex without --tenant (POLYLENS_TENANT)"
        )
    with writing(place.folder(name)):
        owners = [replace(config, tenant=share) for share in _shares(place, before)]
        sources = []
        for own in owners:  # look at all before anything is begun
            with Collection.open_index(own, place, before) as old:
                sources.append(_roots(old, embedder.card, allow_missing=allow_missing))
        index = _index(config, place, before, embedder.card)
        reports = []
        for own, roots in zip(owners, sources, strict=True):
            with (
                Collection.open_index(own, place, before) as old,
                Collection.open_index(own, place, index) as new,
            ):
                run = _Run(own, old, new, embedder, options or IngestOptions(), on_progress)
                reports.append(run(roots, stop or threading.Event(), allow_missing=allow_missing))
            if reports[-1].ingest.interrupted:
                break
        report = _together(reports)
        if report.switched:
            place.switch(name, index)
        return report


def _hosts(old: Collection) -> tuple[str, ...]:
    """The hosts that the user has allowed the collection's lists to point to."""
    with closing(Catalog(old.index / "catalogue.db")) as catalogue:
        return tuple(catalogue.list_hosts())


def _shares(place: Place, index: Index) -> list[str | None]:
    """Whose points are ingested, one after the other: all at once (None), or each tenant's and
    then those of nobody ("")."""
    store = place.open(index)
    try:
        if TenantStore(store, None).count() == store.count():
            return [None]
        return [*(name for name, _ in store.facet(TENANT, limit=MOST_TENANTS)), ""]
    finally:
        store.close()


def _together(reports: Sequence[ReindexReport]) -> ReindexReport:
    """One report of several shares; switched if all of them may be."""
    first = reports[0]
    if len(reports) == 1:
        return first
    done = [report.ingest for report in reports]
    counts = ("added", "updated", "unchanged", "moved", "removed", "files")
    ingest = replace(
        done[-1],
        **{name: sum(getattr(one, name) for one in done) for name in counts},
        skipped=tuple(skip for one in done for skip in one.skipped),
        seconds={"total": round(sum(one.seconds.get("total", 0.0) for one in done), 3)},
    )
    lists = ("vanished", "changed", "lost", "silent")
    losses = Losses(**{n: tuple(x for r in reports for x in getattr(r.losses, n)) for n in lists})
    return replace(
        first,
        points=(sum(r.points[0] for r in reports), sum(r.points[1] for r in reports)),
        ingest=ingest,
        losses=losses,
        checked=sum(report.checked for report in reports),
        switched=all(report.switched for report in reports),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """Build, compare, check."""

    config: Config
    old: Collection
    new: Collection
    embedder: Embedder
    options: IngestOptions
    on_progress: Callable[[IngestProgress], None] | None

    def __call__(
        self, roots: list[str], stop: threading.Event, *, allow_missing: bool
    ) -> ReindexReport:
        # it may have been begun days ago
        how = replace(self.options, prune=True, allowed_hosts=_hosts(self.old))
        done = ingest_with_workers(
            self.config, roots, self.new, self.embedder, how, self.on_progress, stop
        )
        points = self.old.store.count(), self.new.store.count()
        report = ReindexReport(
            self.old.card, self.new.card, points, done, Losses(), 0, switched=False
        )
        if done.interrupted:
            return report
        losses = compare(self.old, self.new, done.skipped, self._tell(points[0], done))
        report = replace(report, losses=losses)
        if stop.is_set():
            return replace(report, ingest=replace(done, interrupted=True))
        if (losses.lost or losses.silent) and not allow_missing:
            return report
        checked = verify_index(self.new, self.embedder, self.options)
        self.new.store.flush()
        return replace(report, checked=checked, switched=True)

    def _tell(self, total: int, done: IngestReport) -> Callable[[int], None]:
        def tell(seen: int) -> None:
            if self.on_progress:
                seconds = done.seconds.get("total", 0.0)
                self.on_progress(IngestProgress("check", seen, total, len(done.skipped), seconds))

        return tell


def _index(config: Config, place: Place, before: Index, card: ModelCard) -> Index:
    """The index to go on with, or a new one; raises `CollectionError`, `DiskFullError`."""
    name = config.collection
    place.sweep(name)
    found = place.indexes(name)
    if found.old is not None and found.old.card.fingerprint == card.fingerprint:
        raise CollectionError(
            f"the index of {label(card)} is still there: type indexer reindex --rollback to switch "
            "back to it, and indexer ingest FOLDER to bring it up to date"
        )
    begun = found.building
    if begun is None:
        require_disk(place.folder(name), FREE_BYTES + _size(before, card))
        return place.begin(name, card, layout_of(config, place.layout(before)))
    if begun.card.fingerprint != card.fingerprint:
        raise CollectionError(
            f"an index of {label(begun.card)} is half built, and another was asked for; go on "
            f"with it: indexer reindex --model {begun.card.name}; or delete it: "
            "indexer reindex --forget"
        )
    return begun


def _size(before: Index, card: ModelCard) -> int:
    """What the new index may take on this disk, in bytes; its points may lie elsewhere."""
    return disk_usage(before.folder / "shard") * max(card.dim, before.card.dim) // before.card.dim


def _roots(old: Collection, card: ModelCard, *, allow_missing: bool) -> list[str]:
    """The sources to ingest; raises `CollectionError` where the new index would lack much."""
    with closing(Catalog(old.index / "catalogue.db")) as catalogue:
        known = {root: catalogue.count_under(root) for root in catalogue.list_roots()}
    if not known and old.store.count():
        raise CollectionError(
            f"collection {old.name!r} no longer knows its folders (its catalogue is new); tell it: "
            "indexer ingest FOLDER (nothing is embedded twice), then reindex"
        )
    if "image" not in card.modalities and old.store.count(build_store_filter({"kind": ("image",)})):
        raise CollectionError(
            f"{card.name} takes texts alone, and collection {old.name!r} has pictures; choose "
            "another model: embedder models"
        )
    absent = [
        f"{display_path(r)} ({n} files)" for r, n in known.items() if n and not is_root_available(r)
    ]
    if absent and not allow_missing:
        raise CollectionError(
            f"missing or empty, as a disk that is not mounted is: {', '.join(absent)}; what lies "
            "there would not be in the new index. Bring it back, or do without: --allow-missing"
        )
    return [root for root in known if is_root_available(root)]
