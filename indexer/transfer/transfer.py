"""Points of a source become a collection of another store: copied beside it, checked, put in use.

Searches find the old index or the new one, whole. A run that ends, however it does, is gone on with
by the same call: how far it has come is kept with the index that is being built.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from indexer.collections import CollectionBackend, CollectionIndex, make_layout
from indexer.collections.collection import MIN_FREE_BYTES, OpenCollection, check_disk_space
from indexer.collections.model import format_model as model_label
from indexer.config import Config
from indexer.errors import CollectionError
from indexer.stores.qdrant.connection import Layout, redact_password
from indexer.transfer.copy_points import (
    CopyCursor,
    copy_points,
    delete_cursor,
    missing_points,
    read_cursor,
    write_cursor,
)
from indexer.transfer.local_state import LocalState, copy_catalogs, copy_thumbnails, copy_votes
from indexer.transfer.source import Page, PointCounts, PointSource, count_points, format_location
from indexer.transfer.verification import (
    SAMPLE_SIZE,
    describe_count_difference,
    describe_point_difference,
)
from indexer.types import IngestProgress, Record

Mode = Literal["new", "merge", "replace"]
BYTES_PER_VALUE = 2  # bytes of a vector's number in the embedded store


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What was moved. Until it is `done` nothing can be seen of it, but for points that were
    merged."""

    points: int  # in the destination now
    copied: int  # by this run
    resumed: int = 0  # by those before it
    kept: int = 0  # were there already, where points are merged
    checked: int = 0  # points compared
    catalogues: int = 0
    votes: int = 0
    seconds: float = 0.0
    replaced: bool = False  # there was a collection, whose index is the old one now
    done: bool = False  # False: it was stopped, and the same call goes on

    @property
    def rate(self) -> float:
        """Points copied a second."""
        return self.copied / self.seconds if self.seconds else 0.0


def transfer(
    source: PointSource,
    place: CollectionBackend,
    to: Config,
    mode: Mode = "new",
    *,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> TransferReport:
    """Make the collection `to.collection` in `place`, that of `to`, out of `source`.

    Where there is one of the same model, "merge" adds the points that it lacks, "replace" puts the
    copy in its place and keeps the old index; "new" refuses. The caller holds the collection for
    writing. Raises `CollectionError`, also where the copy is not like the source: it is not put in
    use then; `StoreError`, `DiskFullError`.
    """
    merges = place.exists(to.collection) and _check_destination(source, place, to, mode)
    run = _Transfer(source, place, to, on_progress or (lambda _: None), stop or threading.Event())
    started = time.monotonic()
    report = run.merge() if merges else run.build()
    return replace(report, seconds=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Transfer:
    source: PointSource
    backend: CollectionBackend
    to: Config
    on_progress: Callable[[IngestProgress], None]
    stop: threading.Event

    def build(self) -> TransferReport:
        name, replaced = self.to.collection, self.backend.exists(self.to.collection)
        index = self._get_build()
        with OpenCollection.open_index(self.to, self.backend, index) as new:
            begun = self._make_cursor(index, new)
            sample = self.source.sample(SAMPLE_SIZE)
            end = self._copy(new, self.source.iter_pages(begun.after), begun, index)
            report = TransferReport(end.copied, end.copied - begun.copied, begun.copied)
            if not end.done:
                return report
            new.store.flush()
            self._check(new, sample)
            mine, theirs = LocalState(self.source.path, self.source.index), _local_state(new)
            told = copy_catalogs(mine, theirs), copy_votes(mine, theirs)
        self.backend.switch(name, index)
        delete_cursor(index.folder)
        if self.source.ingested:
            self.backend.mark_ingested(name, index)
        report = replace(report, catalogues=told[0], votes=told[1], checked=len(sample))
        return replace(report, replaced=replaced, done=True)

    def merge(self) -> TransferReport:
        index = self.backend.get_indexes(self.to.collection).in_use
        with OpenCollection.open_index(self.to, self.backend, index) as there:
            before = there.store.count()
            ((sample, _),) = missing_points(
                [Page(self.source.sample(SAMPLE_SIZE), None)], there.store
            )
            pages = missing_points(self.source.iter_pages(), there.store)
            end = self._copy(there, pages, CopyCursor(self.source.identity), None)
            report = TransferReport(before + end.copied, end.copied)
            if not end.done:
                return report
            there.store.flush()
            found = PointCounts(there.store.count())
            why = describe_count_difference(PointCounts(before + end.copied), found)
            why = why or describe_point_difference(sample, there.store)
            if why:
                raise self._mismatch_error(why, "what was there before is there still")
            votes = copy_votes(LocalState(self.source.path, self.source.index), _local_state(there))
        kept = self.source.counts().points - end.copied
        return replace(report, kept=kept, checked=len(sample), votes=votes, done=True)

    def _get_build(self) -> CollectionIndex:
        """The index to go on with, or a new one; raises `CollectionError`."""
        begun = self.backend.get_build(self.to.collection)
        if begun is None:
            self._check_disk_space()
            layout = make_layout(self.to, self._get_destination_layout())
            return self.backend.start_build(self.to.collection, self.source.card, layout)
        if begun.card.fingerprint != self.source.card.fingerprint:
            raise self._incomplete_error(f"an index of {model_label(begun.card)}")
        return begun

    def _get_destination_layout(self) -> Layout:
        """Of the collection that is to be replaced, if there is one."""
        if not self.backend.exists(self.to.collection):
            return Layout()
        return self.backend.get_layout(self.backend.get_indexes(self.to.collection).in_use)

    def _check_disk_space(self) -> None:
        """Raises `DiskFullError`; a server looks after its own."""
        if not self.to.is_remote:
            numbers = self.source.counts().points * self.source.card.dim
            check_disk_space(
                self.backend.local_dir(self.to.collection),
                MIN_FREE_BYTES + BYTES_PER_VALUE * numbers,
            )

    def _make_cursor(self, index: CollectionIndex, new: OpenCollection) -> CopyCursor:
        """Where to go on, or the beginning; raises `CollectionError` where the index that is half
        built is of something else."""
        cursor, there = read_cursor(index.folder), new.store.count()
        if cursor is None and there:
            raise self._incomplete_error("an index that this command on this machine has not begun")
        if cursor is not None and cursor.identity != self.source.identity:
            raise self._incomplete_error(
                f"a copy of something else, or of {self.source.label} as it was,"
            )
        if cursor is None or there < cursor.copied:  # a power cut has cost points: all once more
            cursor = CopyCursor(self.source.identity)
            write_cursor(index.folder, cursor)
        return cursor

    def _copy(
        self,
        new: OpenCollection,
        pages: Iterable[Page],
        begun: CopyCursor,
        index: CollectionIndex | None,
    ) -> CopyCursor:
        """Copy and tell of it; with `index`, keep there how far it has come."""
        total, started = self.source.counts().points, time.monotonic()

        def on_page(page: Page, cursor: CopyCursor) -> None:
            copy_thumbnails(self.source.path, new.path, page.records)
            if index is not None:
                write_cursor(index.folder, cursor)
            self._report_progress("copy", cursor.copied, total, started)

        self._report_progress("begin", begun.copied, total, started)
        if begun.done:
            return begun
        streams = self.to.upload_concurrency if self.to.is_remote else 1
        return copy_points(pages, new.store, begun, on_page, concurrency=streams, stop=self.stop)

    def _check(self, new: OpenCollection, sample: Sequence[Record]) -> None:
        """Raises `CollectionError` where the copy is no copy."""
        self._report_progress("check", len(sample), None, time.monotonic())
        kept = f"the copy was not put in use. {self._restart_hint()}"
        if not self.source.is_unchanged():
            raise CollectionError(f"{self.source.label} has changed while it was read; {kept}")
        why = describe_count_difference(self.source.counts(), count_points(new.store))
        why = why or describe_point_difference(sample, new.store)
        if why:
            raise self._mismatch_error(why, kept)

    def _mismatch_error(self, why: str, kept: str) -> CollectionError:
        return CollectionError(
            f"what has arrived in {format_location(self.to)} is not what {self.source.label} holds: {why}; "
            f"{kept}"
        )

    def _incomplete_error(self, what: str) -> CollectionError:
        return CollectionError(
            f"{what} is half built in {format_location(self.to)}. {self._restart_hint()}"
        )

    def _restart_hint(self) -> str:
        return (
            f"Delete it: indexer reindex --forget --store {redact_password(self.to.store)} "
            f"--collection {self.to.collection}; then type the command again"
        )

    def _report_progress(self, stage: str, done: int, total: int | None, started: float) -> None:
        self.on_progress(IngestProgress(stage, done, total, 0, time.monotonic() - started))


def _check_destination(
    source: PointSource, place: CollectionBackend, to: Config, mode: Mode
) -> bool:
    """Whether to merge into the collection that is there; raises `CollectionError` where neither
    that nor another one in its place would do."""
    card = place.get_indexes(to.collection).in_use.card
    if card.fingerprint != source.card.fingerprint:
        raise CollectionError(
            f"{format_location(to)} was made with {model_label(card)}, and {source.label} with "
            f"{model_label(source.card)}: their vectors cannot be compared. Give it another name, "
            "or make one of them anew with the other's model: indexer reindex --model NAME"
        )
    if mode == "new":
        raise CollectionError(
            f"{format_location(to)} is there already, of the same model: add what it lacks with --merge, put "
            "the copy in its place with --replace, or give the copy another name"
        )
    if mode == "replace" and to.tenant:
        raise CollectionError(
            f"--replace would put tenant {to.tenant!r} in the place of all that {format_location(to)} holds; "
            "add what the tenant lacks there with --merge"
        )
    return mode == "merge"


def _local_state(opened: OpenCollection) -> LocalState:
    return LocalState(opened.path, opened.index_dir)
