"""Ingest: bring a collection up to date with folders and other sources.

Four stages, joined by bounded queues: scan (what is new or has changed), decode (in threads, ahead
of the model), embed (in one thread), write (in this thread, behind the model). Before a batch is
embedded, it is reconciled with the catalog and the store, which is asked once per batch.

What the store has acknowledged survives a crash, which costs at most one batch of embedding. A bad
file is a `SkippedFile` in the report and a line in the collection's errors.jsonl.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from embedder.files import PRIVATE, write_file
from embedder.types import Embedder
from indexer.collections.collection import OpenCollection
from indexer.errors import IndexerError
from indexer.ingest.added import FormerIndex, date_new_contents
from indexer.ingest.catalog import CATALOG_FILE, Catalog
from indexer.ingest.consistency import check_consistency
from indexer.ingest.decode_stage import DecodeStage
from indexer.ingest.embed_stage import EmbedFailedError, EmbedStage, PointVectors
from indexer.ingest.reconcile import (
    ContentPlan,
    collect_changes,
    load_stored,
    reconcile,
    take_vectors,
)
from indexer.ingest.refresh import TextRefresh
from indexer.ingest.scan import Scan
from indexer.ingest.types import DecodedFile, IngestOptions, StageTimer
from indexer.ingest.write_stage import COMMIT_INTERVAL, WriteStage
from indexer.paths import display_path, is_local_file
from indexer.sources import SourceSet
from indexer.types import IngestProgress, IngestReport, Note, SkippedFile

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.ingest.distributed.coordinator import Coordinator

ERRORS_FILE = "errors.jsonl"
PROGRESS_INTERVAL = 0.2  # seconds between two calls of on_progress
Batch: TypeAlias = "list[DecodedFile | SkippedFile]"
ProgressCallback: TypeAlias = "Callable[[IngestProgress], None]"


def ingest(
    roots: Sequence[str | Path],
    collection: OpenCollection,
    embedder: Embedder,
    options: IngestOptions | None = None,
    on_progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
    coordinator: Coordinator | None = None,
    former: FormerIndex | None = None,
) -> IngestReport:
    """Bring the collection up to date with `roots`.

    Args:
        roots: Folders, archives, tables, URLs.
        collection: The collection to write to.
        embedder: Its model; a `coordinator` takes its place.
        options: How to ingest.
        on_progress: Called now and then.
        stop: Setting it ends the run after the current batch, with everything saved.
        coordinator: Workers that decode and embed in place of this process.
        former: The index that this one is to replace, which knows when contents were added.

    Returns:
        What was done.

    Raises:
        IndexerError: A root is missing, the store fails, the disk is full, or another process is
            writing to the collection.
    """
    with (
        collection.lock_for_writing(),
        closing(Catalog(collection.index_dir / CATALOG_FILE)) as catalog,
    ):
        caption_roots = tuple(root for root in catalog.list_roots() if is_local_file(root))
        if coordinator:
            coordinator.set_caption_roots(caption_roots)
        pipeline = _Pipeline(
            roots,
            collection,
            catalog,
            coordinator or embedder,
            replace(options or IngestOptions(), caption_roots=caption_roots),
            on_progress=on_progress,
            stop=stop or threading.Event(),
            former=former,
        )
        return pipeline.run(coordinator)


def ingest_with_workers(
    config: Config,
    roots: Sequence[str | Path],
    collection: OpenCollection,
    embedder: Embedder,
    options: IngestOptions,
    on_progress: ProgressCallback | None = None,
    stop: threading.Event | None = None,
    former: FormerIndex | None = None,
) -> IngestReport:
    """`ingest` by the workers of the cluster that the settings name, if they name one. A dry run
    does without them."""
    if config.cluster is None or options.dry_run:
        return ingest(roots, collection, embedder, options, on_progress, stop, former=former)
    from indexer.ingest.distributed.coordinator import Coordinator

    with Coordinator(
        config.cluster, config, collection.active_index, roots, options
    ) as coordinator:
        return ingest(roots, collection, embedder, options, on_progress, stop, coordinator, former)


@dataclass(slots=True)
class _InFlight:
    """A batch that is being embedded, and what becomes of its contents."""

    plans: list[ContentPlan]
    vectors: Future[list[PointVectors | EmbedFailedError]]
    num_files: int
    last_path: str


class _Pipeline:
    """One ingest, from the first folder to the report."""

    def __init__(
        self,
        roots: Sequence[str | Path],
        collection: OpenCollection,
        catalog: Catalog,
        model: Embedder,
        options: IngestOptions,
        *,
        on_progress: ProgressCallback | None,
        stop: threading.Event,
        former: FormerIndex | None,
    ) -> None:
        self._former = former
        self._collection, self._catalog, self._options = collection, catalog, options
        self._on_progress, self._stop = on_progress, stop
        self._timer = StageTimer()
        self._started, self._last_progress = time.perf_counter(), 0.0
        self._skipped: list[SkippedFile] = []
        self._notes: list[Note] = []
        self._in_flight: deque[_InFlight] = deque()
        self._done, self._total = 0, 0
        self._num_written, self._num_unread = 0, 0  # files
        self._sources = SourceSet.open(roots, options, self._skipped.append)
        self._decode_stage = DecodeStage(
            self._sources,
            options,
            model.card.image_side,
            is_known=catalog.has_content,
            thumbnails_dir=None if options.dry_run else collection.thumbnail_dir,
            timer=self._timer,
        )
        self._embed_stage = EmbedStage(model, options.batch_size, self._timer)
        self._write_stage = WriteStage(collection, catalog, self._timer, dry_run=options.dry_run)

    def run(self, coordinator: Coordinator | None) -> IngestReport:
        options, catalog = self._options, self._catalog
        with self._timer("check"):
            check_consistency(self._collection.store, catalog, shared=self._collection.is_shared)
        refresh = TextRefresh(
            self._collection,
            self._embed_stage,
            options.names,
            self._report_progress,
            self._stop,
        )
        scan = Scan(self._sources, catalog, self._skipped, rehash=options.rehash)
        with self._timer("scan"):
            for path in scan.run(self._stop):
                self._report_progress("scan", path=path)
        if not self._stop.is_set():
            self._notes = self._sources.list_notes()
        catalog.add_hosts(options.allowed_hosts)
        if not options.dry_run:
            catalog.commit()
        with self._embed_stage:
            if not options.dry_run:
                refresh.run()
            try:
                self._ingest_pending(coordinator)
                removed = self._prune() if options.prune and not self._stop.is_set() else 0
            except BaseException:
                with suppress(IndexerError):  # the error that ends the run is raised, not this one
                    self._write_stage.commit()
                raise
        if not self._stop.is_set():
            scan.record_complete_parts()
        report = self._build_report(removed)
        if options.dry_run:
            catalog.rollback()
            return report
        return self._finish(report)

    def _ingest_pending(self, coordinator: Coordinator | None) -> None:
        self._total = self._catalog.count_pending()
        if coordinator:
            batches = coordinator.iter_batches(
                self._catalog,
                self._collection.thumbnail_dir,
                self._timer,
                self._skipped,
                self._stop,
            )
        else:
            batches = self._decode_batches()
        # the coordinator embeds with the workers that it waits for: not both at once
        max_in_flight = 0 if coordinator else 1
        with closing(batches):
            for batch in batches:
                self._submit(batch)
                while len(self._in_flight) > max_in_flight:
                    self._write_oldest()
        self._write_all()

    def _decode_batches(self) -> Generator[Batch]:
        """Half batches: one is written while the next one is embedded."""
        size = max(1, self._options.batch_size // 2)
        threads = self._options.decode_threads or min(os.cpu_count() or 1, 8)
        pending = takewhile(lambda _: not self._stop.is_set(), self._catalog.iter_pending())
        ahead = 2 * self._options.batch_size + threads
        with closing(
            self._decode_stage.decode_ahead(pending, threads=threads, ahead=ahead)
        ) as items:
            while batch := list(islice(items, size)):
                yield batch

    def _submit(self, batch: Batch, *, is_retry: bool = False) -> None:
        """Reconcile a batch with the catalog and the store, and start embedding it."""
        self._skip(item for item in batch if isinstance(item, SkippedFile))
        files = [item for item in batch if isinstance(item, DecodedFile)]
        self._notes += [Note(display_path(f.file.path), f.note) for f in files if f.note]
        changes, orphans = collect_changes(files, self._catalog)
        touched = {change.content.id for change in changes} | {o.file.content_id for o in orphans}
        if any(plan.change.content.id in touched for b in self._in_flight for plan in b.plans):
            self._write_all()  # the catalog does not have yet what this batch builds on
            changes, orphans = collect_changes(files, self._catalog)
        with self._timer("upsert"):
            load_stored(
                changes,
                self._collection.store,
                self._collection.thumbnail_dir,
                shared=self._collection.is_shared,
            )
            date_new_contents(changes, self._catalog, self._former)
        names = self._collection.active_index.names
        plans = [reconcile(change, self._sources.roots, names=names) for change in changes]
        again = orphans + [f for plan in plans if plan.lacks_image for f in plan.change.arrived]
        plans = [plan for plan in plans if not plan.lacks_image]
        writes = [] if self._options.dry_run else [w for plan in plans for w in plan.writes]
        last = batch[-1]
        self._in_flight.append(
            _InFlight(
                plans,
                self._embed_stage.submit(writes),
                0 if is_retry else len(batch),
                last.path if isinstance(last, SkippedFile) else last.file.path,
            )
        )
        if again:
            self._submit(
                [self._decode_stage.decode(file.pending, force=True) for file in again],
                is_retry=True,
            )

    def _write_oldest(self) -> None:
        batch = self._in_flight.popleft()
        take_vectors(batch.plans, batch.vectors.result())
        self._write_stage.write(batch.plans)
        for plan in batch.plans:
            self._decode_stage.release(plan.change.content.id)
            if plan.error:  # the next run tries again
                self._skip(
                    SkippedFile(display_path(file.file.path), "embed-failed", plan.error)
                    for file in plan.change.arrived
                )
            else:
                self._num_written += len(plan.change.arrived)
        self._write_stage.commit(interval=COMMIT_INTERVAL)
        self._done += batch.num_files
        self._report_progress("ingest", self._done, self._total, batch.last_path)

    def _write_all(self) -> None:
        while self._in_flight:
            self._write_oldest()

    def _prune(self) -> int:
        from indexer.ingest.prune import find_unlisted, remove_paths

        return remove_paths(
            find_unlisted(self._catalog, self._sources),
            self._collection,
            self._catalog,
            self._embed_stage,
            self._write_stage,
            self._sources.roots,
        )

    def _finish(self, report: IngestReport) -> IngestReport:
        self._report_progress("flush")
        with self._timer("flush"):
            self._write_stage.commit()
        _write_errors(self._collection.index_dir / ERRORS_FILE, report.skipped)
        self._collection.mark_ingested()
        total = round(time.perf_counter() - self._started, 3)
        return replace(report, seconds={**self._timer.seconds, "total": total})

    def _skip(self, skips: Iterable[SkippedFile]) -> None:
        """Report pending files that cannot be used; workers report files of captions as well."""
        for skip in skips:
            self._skipped.append(skip)
            self._num_unread += skip.reason != "bad-sidecar"

    def _build_report(self, removed: int) -> IngestReport:
        contents = Counter(self._catalog.count_outcomes())
        usable = self._catalog.count_seen() - self._total + self._num_written
        failed = sum(skip.is_failure for skip in self._skipped)
        remaining = self._total - self._num_written - self._num_unread
        return IngestReport(
            added=contents["added"],
            updated=contents["updated"],
            unchanged=contents["unchanged"],
            moved=contents["moved"],
            duplicates=usable - contents.total(),
            unsupported=len(self._skipped) - failed,
            failed=failed,
            remaining=remaining,
            removed=removed,
            recovered=self._catalog.count_recovered(),
            lost=tuple(map(display_path, self._list_lost())),
            skipped=tuple(self._skipped),
            notes=tuple(self._notes),
            passed_over=self._sources.count_passed_over(),
            files=usable + len(self._skipped) + remaining,
            interrupted=self._stop.is_set(),
        )

    def _list_lost(self) -> list[str]:
        """The files whose points are lost for now; not those that a prune would have removed."""
        if self._stop.is_set():
            return []
        return [
            path
            for path in self._catalog.list_lost()
            if not self._options.prune
            or self._sources.source_for(path) is None
            or not self._catalog.is_missing(path)
        ]

    def _report_progress(
        self, stage: str, done: int = 0, total: int | None = None, path: str = ""
    ) -> None:
        """At most once every `PROGRESS_INTERVAL` seconds, and at the end of a stage."""
        now = time.perf_counter()
        if self._on_progress is None or (
            now - self._last_progress < PROGRESS_INTERVAL and done != total
        ):
            return
        self._last_progress = now
        skipped, seconds = len(self._skipped), now - self._started
        self._on_progress(IngestProgress(stage, done, total, skipped, seconds, display_path(path)))


def _write_errors(path: Path, skipped: Iterable[SkippedFile]) -> None:
    """The skipped files of the last run, one JSON object a line."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        json.dumps({"path": s.path, "reason": s.reason, "detail": s.detail, "at": now})
        for s in skipped
    ]
    write_file(path, "".join(line + "\n" for line in lines), mode=PRIVATE)
