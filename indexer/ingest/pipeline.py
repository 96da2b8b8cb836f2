"""Folders into a collection: walk, see what changed, decode ahead, embed, upsert.

Acknowledged means kept: a crash costs at most the batch in hand. A bad file is a `Skip` in the
report and a line in the collection's errors.jsonl; the rest goes on.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from embedder.images.decode import DecodeLimits
from embedder.types import Embedder
from indexer.collection import Collection
from indexer.ingest.catalog import Catalog
from indexer.ingest.catalog_rows import PendingFile
from indexer.ingest.decode_stage import DecodedFile, DecodeStage, decode_ahead
from indexer.ingest.prefetch import PrefetchEmbedder
from indexer.ingest.prune import find_missing
from indexer.ingest.scan import Scan
from indexer.ingest.timing import StageTimer
from indexer.ingest.write_stage import PointWriter
from indexer.paths import display_path
from indexer.sources import SourceOptions, SourceSet
from indexer.types import IngestProgress, IngestReport, SkippedFile

if TYPE_CHECKING:
    from indexer.ingest.distributed.coordinator import Coordinator

ERRORS_FILE = "errors.jsonl"
Batch: TypeAlias = "list[DecodedFile | SkippedFile]"
PROGRESS_INTERVAL = 0.2  # seconds between two calls of on_progress


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest. `batch` is what a crash may cost; `workers` 0 is one thread a core."""

    limits: DecodeLimits = field(default_factory=DecodeLimits)
    batch_size: int = 64
    decode_threads: int = 0
    prune: bool = False
    dry_run: bool = False
    embed_frames: bool = False  # embed several frames of an animation, not the first alone
    manifest: Path | None = None
    follow_links: bool = False
    allowed_hosts: tuple[str, ...] = ()  # that rows of tables and lists may point to

    @property
    def source_options(self) -> SourceOptions:
        return SourceOptions(self.manifest, self.follow_links, self.allowed_hosts)

    @property
    def num_threads(self) -> int:
        return self.decode_threads or min(os.cpu_count() or 1, 8)


def ingest(
    roots: Sequence[str | Path],
    collection: Collection,
    embedder: Embedder,
    options: IngestOptions | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
    coordinator: Coordinator | None = None,
) -> IngestReport:
    """Bring the collection up to date with `roots`; a `fleet` of workers reads and embeds for us.

    Setting `stop` ends the run after the batch in hand, with everything saved. Raises
    `IndexerError` (a root that is missing, a store that fails, a full disk, another writer).
    """
    with collection.writing():
        catalogue = Catalog(collection.index / "catalogue.db")
        try:
            run = _IngestRun(
                roots, collection, embedder, options or IngestOptions(), catalogue, coordinator
            )
            with closing(run.embedder):
                return run(on_progress or (lambda _: None), stop or threading.Event())
        finally:
            catalogue.close()


class _IngestRun:
    """One ingest, from the first folder to the report."""

    def __init__(
        self,
        roots: Sequence[str | Path],
        collection: Collection,
        embedder: Embedder,
        options: IngestOptions,
        catalogue: Catalog,
        coordinator: Coordinator | None,
    ) -> None:
        self.collection, self.options, self.catalogue = collection, options, catalogue
        self.coordinator = coordinator
        self.timer = StageTimer()
        self.skipped: list[SkippedFile] = []
        self.started = time.perf_counter()
        self.embedder = PrefetchEmbedder(embedder)
        self.sources = SourceSet.open(roots, options.source_options, self.skip)
        self.decode_stage = DecodeStage(
            catalogue,
            self.sources,
            options.limits,
            embedder.card.image_side,
            None if options.dry_run else collection.thumbs,
            options.embed_frames,
            self.timer,
        )
        self.writer = PointWriter(
            collection,
            catalogue,
            lambda: self.embedder,
            self.timer,
            self.skip,
            self.sources.roots,
            options.batch_size,
            options.dry_run,
        )

    def __call__(
        self, on_progress: Callable[[IngestProgress], None], stop: threading.Event
    ) -> IngestReport:
        progress = _ProgressThrottle(on_progress, self)
        scan = Scan(
            self.sources,
            self.catalogue,
            self.skipped,
            lambda path: progress("scan", 0, None, path),
        )
        with self.timer("scan"):
            scan(stop)
        self.catalogue.add_hosts(self.options.allowed_hosts)
        if not self.options.dry_run:
            self.catalogue.commit()
        self._write(progress, stop)
        removed = 0
        if self.options.prune and not stop.is_set():
            removed = self.writer.remove(find_missing(self.catalogue, self.sources))
        if not stop.is_set():
            scan.record_complete_parts()
        report = self._report(removed, stop.is_set())
        if self.options.dry_run:
            self.catalogue.rollback()
            return report
        return self._finish(report, progress)

    def skip(self, skip: SkippedFile) -> None:
        self.skipped.append(skip)

    def _write(self, progress: _ProgressThrottle, stop: threading.Event) -> None:
        total, done = self.catalogue.count_pending(), 0
        for batch in self._iter_distributed(stop) if self.coordinator else self._iter_local(stop):
            for orphan in self._write_batch(batch):
                self._write_orphan(orphan)
            done += len(batch)
            progress("ingest", done, total, _last_path(batch))

    def _iter_local(self, stop: threading.Event) -> Iterator[Batch]:
        """Batches that are prepared here, in threads."""
        items = decode_ahead(
            _take_until(stop, self.catalogue.iter_pending()),
            self.decode_stage.decode,
            threads=self.options.num_threads,
            ahead=2 * self.options.batch_size + self.options.num_threads,
        )
        half = max(1, self.options.batch_size // 2)  # one is written while the other is embedded
        return self._prefetch(_iter_batches(items, half))

    def _iter_distributed(self, stop: threading.Event) -> Iterator[Batch]:
        """Batches that workers have prepared, embedded and written."""
        assert self.coordinator is not None
        return self.coordinator.iter_batches(
            self.catalogue, self.collection.thumbs, self.timer, self.skipped, stop
        )

    def _prefetch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Each batch once the model has begun with the one after it, so that it never waits."""
        held: Batch = []
        for batch in batches:
            self.embedder.prefetch([item.input for item in self._find_new(batch)])
            if held:
                yield held
            held = batch
        if held:
            yield held

    def _find_new(self, batch: Batch) -> list[DecodedFile]:
        """The pictures of `batch` that must be embedded, unless the store has them already."""
        ready = [item for item in batch if isinstance(item, DecodedFile) and item.images]
        if self.options.dry_run or not ready:
            return []
        known = {
            r.id for r in self.collection.store.retrieve([i for p in ready for i in p.point_ids])
        }
        return [item for item in ready if not known.intersection(item.point_ids)]

    def _write_batch(self, batch: Sequence[DecodedFile | SkippedFile]) -> list[DecodedFile]:
        for item in batch:
            if isinstance(item, SkippedFile):
                self.skip(item)
        return self.writer.write([item for item in batch if isinstance(item, DecodedFile)])

    def _write_orphan(self, orphan: DecodedFile) -> None:
        for again in self._write_batch([self.decode_stage.decode_again(orphan)]):
            self.skip(SkippedFile(display_path(again.file.path), "embed-failed", "its copy failed"))

    def _report(self, removed: int, interrupted: bool) -> IngestReport:
        tally = self.catalogue.count_outcomes()
        return IngestReport(
            added=tally.get("added", 0),
            updated=tally.get("updated", 0),
            unchanged=tally["unchanged"],
            moved=tally.get("moved", 0),
            removed=removed,
            skipped=tuple(self.skipped),
            files=self.catalogue.count_seen(),
            interrupted=interrupted,
        )

    def _finish(self, report: IngestReport, progress: _ProgressThrottle) -> IngestReport:
        progress("flush", 0, None, "")
        with self.timer("flush"):
            self.collection.store.flush()
        self.catalogue.commit()
        _write_errors(self.collection.index / ERRORS_FILE, report.skipped)
        self.collection.mark_ingested()
        seconds = {**self.timer.seconds, "total": round(time.perf_counter() - self.started, 3)}
        return replace(report, seconds=seconds)


class _ProgressThrottle:
    """Hands progress on, not more often than every `EVERY` seconds."""

    def __init__(self, on_progress: Callable[[IngestProgress], None], run: _IngestRun) -> None:
        self.on_progress, self.run, self.last = on_progress, run, 0.0

    def __call__(self, stage: str, done: int, total: int | None, path: str) -> None:
        now = time.perf_counter()
        if now - self.last < PROGRESS_INTERVAL and done != total:
            return
        self.last = now
        skipped, seconds = len(self.run.skipped), now - self.run.started
        self.on_progress(IngestProgress(stage, done, total, skipped, seconds, display_path(path)))


def _take_until(stop: threading.Event, todo: Iterable[PendingFile]) -> Iterator[PendingFile]:
    for item in todo:
        if stop.is_set():
            return
        yield item


def _iter_batches(items: Iterable[DecodedFile | SkippedFile], size: int) -> Iterator[Batch]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _last_path(batch: Sequence[DecodedFile | SkippedFile]) -> str:
    last = batch[-1]
    return last.path if isinstance(last, SkippedFile) else last.file.path


def _write_errors(path: Path, skipped: Iterable[SkippedFile]) -> None:
    """The skipped files of the last run, one JSON object a line."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        json.dumps({"path": s.path, "reason": s.reason, "detail": s.detail, "at": now})
        for s in skipped
    ]
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
