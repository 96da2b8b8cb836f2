"""Copies a collection to another store: built next to the active index, checked, then activated.

Searches find the old index or the complete new one. An interrupted copy is continued by the same
call: its cursor is kept in the folder of the index that is being built.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from embedder.files import PRIVATE, make_private_dir, write_file
from embedder.redaction import redact_secrets
from indexer.collections import CollectionBackend, CollectionIndex, make_layout, open_backend
from indexer.collections.collection import OpenCollection, lock_for_writing
from indexer.collections.model import format_model
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.stores.base import (
    MIN_FREE_BYTES,
    Layout,
    Schema,
    Store,
    check_disk_space,
)
from indexer.stores.upload import upload
from indexer.transfer.local_state import LocalState, copy_catalogs, copy_thumbnails, copy_votes
from indexer.transfer.source import (
    Page,
    PointCounts,
    PointSource,
    count_points,
    describe_difference,
    format_location,
    open_source_collection,
)
from indexer.types import IngestProgress, Record

Mode = Literal["new", "merge", "replace"]
BYTES_PER_VALUE = 2  # of a dense vector in the embedded store
CURSOR_FILE = "moving.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReport:
    """What was copied. Until `done`, only merged points are visible."""

    points: int  # in the destination now
    copied: int  # by this run
    resumed: int = 0  # by earlier runs
    kept: int = 0  # already in the destination (merge)
    checked: int = 0  # points compared
    catalogs: int = 0
    votes: int = 0
    seconds: float = 0.0
    replaced: bool = False  # there was a collection, whose index is the old one now
    done: bool = False  # False: it was stopped, and the same call continues
    unnamed_sources: tuple[str, ...] = ()  # on other hosts, until an ingest names them (restore)

    @property
    def rate(self) -> float:
        """Points copied per second."""
        return self.copied / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class CopyCursor:
    """Everything before `after` has been acknowledged: `copied` points of the source `identity`."""

    identity: str
    after: str | None = None  # where the next page begins
    copied: int = 0
    done: bool = False


def migrate(
    source: Config,
    to: Config,
    mode: Mode = "new",
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> TransferReport:
    """Copy the collection of `source` to that of `to`; see `Transfer`.

    The source is only read, and locked against other writers on this machine. Raises
    `CollectionError`, `StoreError`, `StoreBusyError`, `DiskFullError`.
    """
    backend = open_backend(to)
    if (open_backend(source).location, source.collection) == (backend.location, to.collection):
        raise CollectionError(
            f"{format_location(to)} is the source and the destination; give the copy another name "
            "with --to"
        )
    with (
        open_source_collection(source) as points,
        lock_for_writing(backend.local_dir(to.collection)),
    ):
        return Transfer(points, backend, to, mode, on_progress, stop).run()


def read_cursor(folder: Path) -> CopyCursor | None:
    """The cursor kept in `folder`; None if it cannot be read."""
    try:
        return CopyCursor(**json.loads((folder / CURSOR_FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_cursor(folder: Path, cursor: CopyCursor) -> None:
    """Replace the cursor in `folder` durably."""
    make_private_dir(folder)
    write_file(folder / CURSOR_FILE, json.dumps(asdict(cursor)), mode=PRIVATE)


def select_missing(pages: Iterable[Page], store: Store) -> Iterator[Page]:
    """The same pages without the points that `store` has already."""
    for page in pages:
        existing = {r.id for r in store.retrieve([record.id for record in page.records])}
        yield page._replace(records=[r for r in page.records if r.id not in existing])


def select_vectors(pages: Iterable[Page], schema: Schema) -> Iterator[Page]:
    """The same pages without the vectors that `schema` lacks."""
    names = {*dict(schema.dense), *schema.sparse}
    for page in pages:
        records = [
            replace(r, vectors={n: v for n, v in r.vectors.items() if n in names})
            for r in page.records
        ]
        yield page._replace(records=records)


@dataclass(frozen=True, slots=True)
class Transfer:
    """Makes the collection `to.collection` of `backend` out of `source`.

    Where the collection exists, with the same model: "merge" adds the points that it lacks,
    "replace" activates the copy and keeps the old index, "new" fails. The caller has locked the
    collection for writing.
    """

    source: PointSource
    backend: CollectionBackend
    to: Config
    mode: Mode = "new"
    on_progress: Callable[[IngestProgress], None] | None = None
    stop: threading.Event | None = None
    _started: float = field(default_factory=time.monotonic, init=False)

    def run(self) -> TransferReport:
        """Copy, or continue a copy.

        Raises:
            CollectionError: The request does not fit what exists, or the copy differs from the
                source: then it is not activated.
            StoreError, DiskFullError: The destination cannot be written.
        """
        exists = self.backend.exists(self.to.collection)
        if exists:
            self._check_destination()
        report = self._merge() if exists and self.mode == "merge" else self._build(exists)
        return replace(report, seconds=time.monotonic() - self._started)

    def _build(self, replaces: bool) -> TransferReport:
        """Build a new index, check and activate it."""
        name, index = self.to.collection, self._get_or_start_build(replaces)
        with OpenCollection.open_index(self.to, self.backend, index, is_build=True) as new:
            start = self._load_cursor(index, new.store)
            sample = self.source.sample()
            end = self._copy(new, self.source.iter_pages(start.after), start, index)
            report = TransferReport(
                points=end.copied, copied=end.copied - start.copied, resumed=start.copied
            )
            if not end.done:
                return report
            new.store.flush()
            self._report_progress("check", len(sample))
            outcome = f"the copy was not activated. {self._restart_hint()}"
            if not self.source.is_unchanged():
                raise CollectionError(
                    f"{self.source.label} has changed while it was read; {outcome}"
                )
            counts = count_points(new.store)
            reason = describe_difference(self.source.counts, counts, sample, new.store)
            self._refuse_difference(reason, outcome)
            target = LocalState(new.path, new.index_dir)
            catalogs = copy_catalogs(self.source.local_state, target)
            votes = copy_votes(self.source.local_state, target)
        self.backend.switch(name, index)
        (index.folder / CURSOR_FILE).unlink(missing_ok=True)
        if self.source.ingested:
            self.backend.mark_ingested(name, index)
        return replace(
            report,
            catalogs=catalogs,
            votes=votes,
            checked=len(sample),
            replaced=replaces,
            done=True,
        )

    def _merge(self) -> TransferReport:
        """Add the points and votes that the active index lacks."""
        index = self.backend.get_indexes(self.to.collection).in_use
        with OpenCollection.open_index(self.to, self.backend, index) as target:
            store = target.store
            before = store.count()
            first = select_vectors([Page(self.source.sample(), None)], index.schema)
            sample = next(select_missing(first, store))
            pages = select_missing(select_vectors(self.source.iter_pages(), index.schema), store)
            if self.source.texts != index.texts:  # the next ingest gives the new points theirs
                target.set_texts(replace(index.texts, version=1))
            end = self._copy(target, pages, CopyCursor(self.source.identity), None)
            report = TransferReport(points=before + end.copied, copied=end.copied)
            if not end.done:
                return report
            store.flush()
            expected, actual = PointCounts(report.points), PointCounts(store.count())
            reason = describe_difference(expected, actual, sample.records, store)
            self._refuse_difference(reason, "the earlier points are still there")
            votes = copy_votes(self.source.local_state, LocalState(target.path, target.index_dir))
        existing = self.source.counts.points - end.copied
        return replace(report, kept=existing, checked=len(sample.records), votes=votes, done=True)

    def _check_destination(self) -> None:
        """Raises `CollectionError` where the collection can be neither merged nor replaced."""
        to, target = self.to, format_location(self.to)
        card = self.backend.get_indexes(to.collection).in_use.card
        if card.fingerprint != self.source.card.fingerprint:
            raise CollectionError(
                f"{target} was made with {format_model(card)}, and {self.source.label} with "
                f"{format_model(self.source.card)}: their vectors cannot be compared. Give the "
                "copy another name, or rebuild one of them with the other's model: indexer reindex "
                "--model NAME"
            )
        if self.mode == "new":
            raise CollectionError(
                f"{target} already exists, with the same model: add the points that it lacks with "
                "--merge, replace it with --replace, or give the copy another name"
            )
        if self.mode == "replace" and to.tenant:
            raise CollectionError(
                f"--replace would replace everything in {target} by tenant {to.tenant!r}; add "
                "the points that the tenant lacks there with --merge"
            )

    def _get_or_start_build(self, replaces: bool) -> CollectionIndex:
        """Raises `CollectionError`, `DiskFullError`."""
        name, card = self.to.collection, self.source.card
        build = self.backend.get_build(name)
        if build is not None:
            if build.card.fingerprint != card.fingerprint:
                raise self._incomplete_error(f"an index of {format_model(build.card)}")
            return build
        if not self.backend.is_shared:  # a server looks after its own disk
            needed = BYTES_PER_VALUE * self.source.counts.points * card.dim
            check_disk_space(self.backend.local_dir(name), MIN_FREE_BYTES + needed)
        layout = Layout()
        if replaces:
            layout = self.backend.get_layout(self.backend.get_indexes(name).in_use)
        layout = make_layout(self.to, layout)
        return self.backend.start_build(name, card, layout, self.source.texts)

    def _load_cursor(self, index: CollectionIndex, store: Store) -> CopyCursor:
        """Where to continue, or the beginning; raises `CollectionError` where the unfinished index
        is a copy of something else."""
        cursor, stored = read_cursor(index.folder), store.count()
        if cursor is None and stored:
            raise self._incomplete_error("an index that this command on this machine did not start")
        if cursor is not None and cursor.identity != self.source.identity:
            raise self._incomplete_error(
                f"a copy of something else, or of {self.source.label} as it was,"
            )
        if cursor is None or stored < cursor.copied:  # a power cut lost points: copy all again
            cursor = CopyCursor(self.source.identity)
            write_cursor(index.folder, cursor)
        return cursor

    def _copy(
        self,
        target: OpenCollection,
        pages: Iterable[Page],
        cursor: CopyCursor,
        index: CollectionIndex | None,
    ) -> CopyCursor:
        """Write `pages`, which begin at the cursor; return how far it has come.

        With `index`, the cursor is saved there whenever a page and all before it are acknowledged.
        `stop` ends the copy when the points under way have arrived.
        """
        state, sent = LocalState(target.path, target.index_dir), deque[Page]()

        def read_batches() -> Iterator[list[Record]]:
            for page in pages:
                if self.stop is not None and self.stop.is_set():
                    return
                sent.append(page)
                yield page.records

        self._report_progress("begin", cursor.copied)
        if cursor.done:
            return cursor
        for _ in upload(target.store, read_batches(), self.backend.upload_concurrency):
            page = sent.popleft()
            copied = cursor.copied + len(page.records)
            cursor = replace(cursor, after=page.next_id, copied=copied, done=page.next_id is None)
            copy_thumbnails(self.source.local_state, state, page.records)
            if index is not None:
                write_cursor(index.folder, cursor)
            self._report_progress("copy", copied)
        return cursor

    def _refuse_difference(self, reason: str | None, outcome: str) -> None:
        if reason:
            raise CollectionError(
                f"the copy in {format_location(self.to)} differs from {self.source.label}: "
                f"{reason}; {outcome}"
            )

    def _incomplete_error(self, what: str) -> CollectionError:
        return CollectionError(
            f"{what} is half built in {format_location(self.to)}. {self._restart_hint()}"
        )

    def _restart_hint(self) -> str:
        return (
            f"Delete it: indexer reindex --forget --store {redact_secrets(self.to.store)} "
            f"--collection {self.to.collection}; then run the command again"
        )

    def _report_progress(self, stage: str, done: int) -> None:
        if self.on_progress:
            total = self.source.counts.points if stage != "check" else None
            seconds = time.monotonic() - self._started
            self.on_progress(IngestProgress(stage, done, total, 0, seconds))
