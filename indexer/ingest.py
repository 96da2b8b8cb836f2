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

from embedder.types import Embedder
from indexer.ahead import EmbedAhead
from indexer.catalogue import Catalogue
from indexer.collection import Collection
from indexer.decode import Limits
from indexer.files import Todo
from indexer.prepare import Prepared, Preparer, prepare_ahead
from indexer.prune import vanished
from indexer.scan import Scan
from indexer.sources import Reading, Sources
from indexer.timing import Stages
from indexer.types import IngestReport, Progress, Skip
from indexer.walk import printable
from indexer.writer import Writer

if TYPE_CHECKING:
    from indexer.workers.fleet import Fleet

ERRORS = "errors.jsonl"
Batch: TypeAlias = "list[Prepared | Skip]"
EVERY = 0.2  # seconds between two calls of on_progress


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How to ingest. `batch` is what a crash may cost; `workers` 0 is one thread a core."""

    limits: Limits = field(default_factory=Limits)
    batch: int = 64
    workers: int = 0
    prune: bool = False
    dry_run: bool = False
    frames: bool = False  # embed several frames of an animation, not the first alone
    manifest: Path | None = None
    follow_links: bool = False
    hosts: tuple[str, ...] = ()  # that rows of tables and lists may point to

    @property
    def reading(self) -> Reading:
        return Reading(self.manifest, self.follow_links, self.hosts)

    @property
    def threads(self) -> int:
        return self.workers or min(os.cpu_count() or 1, 8)


def ingest(
    roots: Sequence[str | Path],
    collection: Collection,
    embedder: Embedder,
    options: IngestOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
    fleet: Fleet | None = None,
) -> IngestReport:
    """Bring the collection up to date with `roots`; a `fleet` of workers reads and embeds for us.

    Setting `stop` ends the run after the batch in hand, with everything saved. Raises
    `IndexerError` (a root that is missing, a store that fails, a full disk, another writer).
    """
    with collection.writing():
        catalogue = Catalogue(collection.index / "catalogue.db")
        try:
            run = _Run(roots, collection, embedder, options or IngestOptions(), catalogue, fleet)
            with closing(run.embedder):
                return run(on_progress or (lambda _: None), stop or threading.Event())
        finally:
            catalogue.close()


class _Run:
    """One ingest, from the first folder to the report."""

    def __init__(
        self,
        roots: Sequence[str | Path],
        collection: Collection,
        embedder: Embedder,
        options: IngestOptions,
        catalogue: Catalogue,
        fleet: Fleet | None,
    ) -> None:
        self.collection, self.options, self.catalogue = collection, options, catalogue
        self.fleet = fleet
        self.stages = Stages()
        self.skipped: list[Skip] = []
        self.started = time.perf_counter()
        self.embedder = EmbedAhead(embedder)
        self.sources = Sources.open(roots, options.reading, self.skip)
        self.preparer = Preparer(
            catalogue,
            self.sources,
            options.limits,
            embedder.card.image_side,
            None if options.dry_run else collection.thumbs,
            options.frames,
            self.stages,
        )
        self.writer = Writer(
            collection,
            catalogue,
            lambda: self.embedder,
            self.stages,
            self.skip,
            self.sources.roots,
            options.batch,
            options.dry_run,
        )

    def __call__(
        self, on_progress: Callable[[Progress], None], stop: threading.Event
    ) -> IngestReport:
        progress = _Ticker(on_progress, self)
        scan = Scan(
            self.sources,
            self.catalogue,
            self.skipped,
            lambda path: progress("scan", 0, None, path),
        )
        with self.stages("scan"):
            scan(stop)
        self.catalogue.add_hosts(self.options.hosts)
        if not self.options.dry_run:
            self.catalogue.commit()
        self._write(progress, stop)
        removed = 0
        if self.options.prune and not stop.is_set():
            removed = self.writer.remove(vanished(self.catalogue, self.sources))
        if not stop.is_set():
            scan.note_parts()
        report = self._report(removed, stop.is_set())
        if self.options.dry_run:
            self.catalogue.rollback()
            return report
        return self._finish(report, progress)

    def skip(self, skip: Skip) -> None:
        self.skipped.append(skip)

    def _write(self, progress: _Ticker, stop: threading.Event) -> None:
        total, done = self.catalogue.count_todo(), 0
        for batch in self._far(stop) if self.fleet else self._near(stop):
            for orphan in self._write_batch(batch):
                self._write_orphan(orphan)
            done += len(batch)
            progress("ingest", done, total, _last_path(batch))

    def _near(self, stop: threading.Event) -> Iterator[Batch]:
        """Batches that are prepared here, in threads."""
        items = prepare_ahead(
            _until(stop, self.catalogue.todo()),
            self.preparer.prepare,
            workers=self.options.threads,
            ahead=2 * self.options.batch + self.options.threads,
        )
        half = max(1, self.options.batch // 2)  # one is written while the other is embedded
        return self._begun(_batches(items, half))

    def _far(self, stop: threading.Event) -> Iterator[Batch]:
        """Batches that workers have prepared, embedded and written."""
        assert self.fleet is not None
        return self.fleet.batches(
            self.catalogue, self.collection.thumbs, self.stages, self.skipped, stop
        )

    def _begun(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Each batch once the model has begun with the one after it, so that it never waits."""
        held: Batch = []
        for batch in batches:
            self.embedder.begin([item.input for item in self._unknown(batch)])
            if held:
                yield held
            held = batch
        if held:
            yield held

    def _unknown(self, batch: Batch) -> list[Prepared]:
        """The pictures of `batch` that must be embedded, unless the store has them already."""
        ready = [item for item in batch if isinstance(item, Prepared) and item.pictures]
        if self.options.dry_run or not ready:
            return []
        known = {r.id for r in self.collection.store.retrieve([i for p in ready for i in p.ids])}
        return [item for item in ready if not known.intersection(item.ids)]

    def _write_batch(self, batch: Sequence[Prepared | Skip]) -> list[Prepared]:
        for item in batch:
            if isinstance(item, Skip):
                self.skip(item)
        return self.writer.write([item for item in batch if isinstance(item, Prepared)])

    def _write_orphan(self, orphan: Prepared) -> None:
        for again in self._write_batch([self.preparer.prepare_again(orphan)]):
            self.skip(Skip(printable(again.file.path), "embed-failed", "its copy failed"))

    def _report(self, removed: int, interrupted: bool) -> IngestReport:
        tally = self.catalogue.tally()
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

    def _finish(self, report: IngestReport, progress: _Ticker) -> IngestReport:
        progress("flush", 0, None, "")
        with self.stages("flush"):
            self.collection.store.flush()
        self.catalogue.commit()
        _write_errors(self.collection.index / ERRORS, report.skipped)
        self.collection.mark_ingested()
        seconds = {**self.stages.seconds, "total": round(time.perf_counter() - self.started, 3)}
        return replace(report, seconds=seconds)


class _Ticker:
    """Hands progress on, not more often than every `EVERY` seconds."""

    def __init__(self, on_progress: Callable[[Progress], None], run: _Run) -> None:
        self.on_progress, self.run, self.last = on_progress, run, 0.0

    def __call__(self, stage: str, done: int, total: int | None, path: str) -> None:
        now = time.perf_counter()
        if now - self.last < EVERY and done != total:
            return
        self.last = now
        skipped, seconds = len(self.run.skipped), now - self.run.started
        self.on_progress(Progress(stage, done, total, skipped, seconds, printable(path)))


def _until(stop: threading.Event, todo: Iterable[Todo]) -> Iterator[Todo]:
    for item in todo:
        if stop.is_set():
            return
        yield item


def _batches(items: Iterable[Prepared | Skip], size: int) -> Iterator[Batch]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _last_path(batch: Sequence[Prepared | Skip]) -> str:
    last = batch[-1]
    return last.path if isinstance(last, Skip) else last.file.path


def _write_errors(path: Path, skipped: Iterable[Skip]) -> None:
    """The skipped files of the last run, one JSON object a line."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        json.dumps({"path": s.path, "reason": s.reason, "detail": s.detail, "at": now})
        for s in skipped
    ]
    path.write_text("".join(line + "\n" for line in lines), "utf-8")
